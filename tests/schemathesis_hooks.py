"""How Schemathesis sends the media types that it does not know itself."""

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/vnd.automerge")
def as_it_is(_context, value):
    """Text and bytes as they are; of anything else, as tests of what is refused come up with, its words."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def filter_query(_context, query):
    """Feeds that do not end cannot be waited for; and one that waits for a change would wait in vain."""
    return not query or query.get("feed") in (None, "normal")
