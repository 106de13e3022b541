"""The package's own exceptions. Each message says what was got, what is needed and what to do."""


class MajlError(Exception):
    """Base class of every error that `majl_hf` raises for bad input or a bad environment."""


class ConfigError(MajlError, ValueError):
    """A configuration file that cannot be used."""


class AudioError(MajlError, ValueError):
    """Audio that cannot be read, written or used as asked."""
