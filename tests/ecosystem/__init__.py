"""Real libraries and servers on the loop under test, over loopback."""
