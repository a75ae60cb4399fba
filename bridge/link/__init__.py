"""One reconnecting connection to the receiver, dialled from here."""
