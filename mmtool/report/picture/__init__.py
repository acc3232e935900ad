"""A boot as a picture: physical memory from left to right, a row for each thing that lies in it.

`axis` says how far right an address lies, `rows` what is to be seen, `svg` draws it in detail; `bar` draws it
in the terminal. `lanes` says what lies where without overlaps, which `poster` and the page of HTML draw.
"""
