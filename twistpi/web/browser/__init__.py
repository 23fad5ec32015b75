"""Pages for people.

``frame`` says to whom a page is shown and at which address, ``rendering`` makes it of a template, ``assets`` has style and
script; every other module is one kind of page.  ``routes`` sends a request here when ``Accept`` is that of a browser.
"""
