"""A boot, or two side by side, as one HTML file that needs nothing beside itself.

`markup` escapes, `page` is the file around everything, `lanes` says what lies where, `drawing` draws it,
`parts` are the page's sections, `steps` says what each step of a boot is for; `boot` and `diff` put pages together.
`assets` holds the style sheet and the script, which the page has in it and allows by their hashes alone.
"""
