"""Keeping views up to date: who folds the log into tables, when, and what it may cost."""
