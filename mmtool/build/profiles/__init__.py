"""Profiles of builds, as YAML; see mmtool.build.profile."""
