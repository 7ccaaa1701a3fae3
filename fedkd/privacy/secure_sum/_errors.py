"""What goes wrong in the protocol."""


class ProtocolError(ValueError):
    """A message that is not what it should be, or a request that would give away more than the sum."""
