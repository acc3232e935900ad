"""Profiles of builds, as YAML; see mmtool.kernel.profile."""
