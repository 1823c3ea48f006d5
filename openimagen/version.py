"""What this is the version of; pyproject.toml has the same."""

__version__ = "0.1.0"
