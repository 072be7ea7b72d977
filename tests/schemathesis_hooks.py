"""How Schemathesis sends the media types that it does not know itself."""

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/vnd.automerge")
def as_it_is(_context, value):
    """Text and bytes as they are; of anything else, as tests of what is refused come up with, its words."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
