"""The base of the parts' configs."""

from transformers import PreTrainedConfig


class PartConfig(PreTrainedConfig):
    """Config whose subclasses keep their base's arguments also where they have no `__init__` of their own.

    transformers makes a dataclass of every config class; one without an `__init__` would get a new one that knows only
    the fields annotated in it.
    """

    def __init_subclass__(cls, **kwargs):
        if "__init__" not in cls.__dict__:

            def __init__(self, *args, **arguments):
                super(cls, self).__init__(*args, **arguments)

            cls.__init__ = __init__
        super().__init_subclass__(**kwargs)
