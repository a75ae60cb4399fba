"""Life of an instance: what it fetches, what it watches, what it spends, and how it ends."""
