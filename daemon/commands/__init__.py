"""One module per sub-command of ``axnode``."""
