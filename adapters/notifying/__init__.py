"""Telling people: channels (`Webhook`, `Email`, `Command`), rules of an app (`App.notify`), and who sends.

Durable and at least once: what is to be told is a view of the log, so nothing is missed while nobody sends.
"""

from .channels import Channel, Command, Email, NotDelivered, Webhook, signature

__all__ = ["Channel", "Command", "Email", "NotDelivered", "Webhook", "signature"]
