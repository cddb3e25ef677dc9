"""The version of lmfst."""

__version__ = "0.1.0"
