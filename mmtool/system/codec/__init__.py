"""A state as a document, in both directions: what one command leaves and the next goes on from; recordings."""
