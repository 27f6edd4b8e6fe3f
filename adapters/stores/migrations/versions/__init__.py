"""One file per version, named by it. A file is never changed after its release."""
