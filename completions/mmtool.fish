# Completion of mmtool for fish. The program itself says how its lines go on.
_MMTOOL_COMPLETE=fish_source mmtool | source
