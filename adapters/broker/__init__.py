"""The broker between engines and workers: signed requests over kombu (rule C2). What it carries are hints.

`messages` signs and verifies, `publisher` sends with confirms, `consumer` receives, `dead_letters` keeps what nobody
could read, for people.
"""
