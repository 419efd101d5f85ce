"""What builds a corpus: documents to sides, to tokens, to shards and a manifest."""
