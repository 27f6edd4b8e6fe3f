"""Telling people: channels (`Webhook`, `Email`, `Command`), rules of an app (`App.notify`), and who sends.

Durable and at least once: what is to be told is a view of the log, so nothing is missed while nobody sends.
"""
