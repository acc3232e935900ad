"""A boot as a picture: physical memory from left to right, a row for each thing that lies in it.

`axis` says how far right an address lies, `rows` what is to be seen, `svg` and `bar` draw it.
"""
