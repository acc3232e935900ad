"""Fuzzing: seeded mutations of small inputs (mutate), what reads them (targets), and the run over both (campaign)."""
