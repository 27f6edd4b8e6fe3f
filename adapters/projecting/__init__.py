"""Keeping views up to date: who folds the log into tables, when, and what it may cost."""

from .projector import Projector
from .together import Progress, Together

__all__ = ["Progress", "Projector", "Together"]
