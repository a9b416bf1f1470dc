"""Files to arrays: recordings, datasets of tokens, and windows of both."""
