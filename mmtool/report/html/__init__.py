"""A boot, two side by side, or a workload's run as one HTML file that needs nothing beside itself.

`markup` escapes, `page` is the file around everything, `tables` and `drawing` make what needs no script, `parts` are
the sections, `steps` says what each step of a boot is for; `chart` is the map, `view` what its script reads. `boot`,
`diff` and `reclaim` put pages together. `assets` holds the style sheet and the script, which a page allows by hash.
"""
