"""Files as earlier versions wrote them, and the test that today's code still reads them."""
