"""The schema's history. An applied migration is never edited; a new one is added behind it."""
