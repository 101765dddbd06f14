"""Fuzzing: what may come out of any bytes, said once per target and tried in two ways.

A target is a module with `check(data)`, which raises where the product breaks its word, and
`seeds()`, inputs to begin with. `make fuzz` drives the targets by coverage (Atheris); the test run
replays the corpus and a few thousand random mutations of it.
"""
