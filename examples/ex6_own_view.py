"""A view of one's own: who has orders open, kept from the log and made anew from it whenever its version is raised.

python -m examples.ex6_own_view
"""

from flowledger import App, Flow, Rows, Table, linear
from flowledger.events.envelope import Envelope
from flowledger.events.facts import RunFailed, RunReverted, RunSubmitted, RunSucceeded

app = App("orders")

CUSTOMERS = Table("customers", key={"customer": str}, columns={"orders": int, "open": int, "lost": int})
WHOSE = Table("whose", key={"run_id": str}, columns={"customer": str})


@app.projection(CUSTOMERS, WHOSE, version=1)
def by_customer(rows: Rows, envelope: Envelope) -> None:
    """Called once for each event of the log, in its order. Pure: rows in, rows out."""
    whose = rows.at(WHOSE, envelope.run_id)
    match envelope.event:
        case RunSubmitted(tags=tags):
            whose["customer"] = tags.get("customer", "nobody")
            customer = rows.at(CUSTOMERS, whose["customer"])
            customer["orders"] += 1
            customer["open"] += 1
        case RunSucceeded():
            rows.at(CUSTOMERS, whose["customer"])["open"] -= 1
        case RunFailed() | RunReverted():
            customer = rows.at(CUSTOMERS, whose["customer"])
            customer["open"] -= 1
            customer["lost"] += 1
        case _:
            pass


@app.task(read_only=True)
def ship(pieces: int) -> int:
    if pieces > 100:
        raise ValueError("we have not got so many")
    return pieces


@app.flow
def order(pieces: int) -> Flow[int]:
    return linear(ship, returns=ship)


if __name__ == "__main__":
    for customer, pieces in (("Ada", 3), ("Grace", 500), ("Ada", 7)):
        app.run(order(pieces), tags={"customer": customer}, check=False)
    for row in app.history.rows("by_customer", CUSTOMERS):
        print(f"{row['customer']}: {row['orders']} orders, {row['open']} open, {row['lost']} lost")
    print([run.state for run in app.history.runs("tag:customer=Grace").items])
