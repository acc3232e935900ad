"""What differs between kernel releases, a module a subsystem: classes of named facts with their evidence."""
