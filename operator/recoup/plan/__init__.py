"""Pure decisions of the controller: what was observed and the time go in, a Plan comes out.

No I/O, no clock, no random numbers here, so that years pass in milliseconds in the tests and a decision can be replayed.
Reads are made by controller/gather_*.py, writes by controller/apply.py; actions.py is the language between them.
"""
