"""A booking that is made exactly once, a run that is submitted with the order it is for, and a run in a run."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel
from sqlalchemy import Connection, create_engine, text

from flowledger import App, Flow, linear

folder = TemporaryDirectory()
URL = f"sqlite:///{Path(folder.name)}/shop.db"
app = App("shop", database_url=URL)


class Order(BaseModel):
    number: int
    what: str


@app.task(transactional=True, provides="ticket")
def book(order: Order, connection: Connection) -> str:
    connection.execute(text("INSERT INTO bookings VALUES (:n, :what)"), {"n": order.number, "what": order.what})
    return f"ticket {order.number}"


@book.revert
def cancel(order: Order, connection: Connection) -> None:
    connection.execute(text("DELETE FROM bookings WHERE number = :n"), {"n": order.number})


@app.task(read_only=True)
def thank(ticket: str) -> str:
    return f"thanks: {ticket}"


@app.flow
def booking(order: Order) -> Flow[str]:
    booked = book.bind(order)
    return linear(booked, returns=booked)


@app.flow
def trip(order: Order) -> Flow[str]:
    booked = booking.child(order).as_("ticket")  # a run of its own, that can be looked at and undone alone
    thanks = thank
    return linear(booked, thanks, returns=thanks)


if __name__ == "__main__":
    engine = create_engine(URL)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (number INTEGER)"))
        connection.execute(text("CREATE TABLE bookings (number INTEGER, what TEXT)"))
    order = Order(number=7, what="a seat by the window")
    assert not list(app.runs())  # the log is open: SQLite has one writer, and below that is us
    with engine.begin() as connection:  # the order and the run that is to serve it: both, or neither
        connection.execute(text("INSERT INTO orders VALUES (7)"))
        run = app.submit(trip(order), key="order-7", connection=connection)
    print(run.wait())
    with engine.connect() as connection:
        print(connection.execute(text("SELECT * FROM bookings")).all())
    engine.dispose()
    app.close()
    folder.cleanup()
