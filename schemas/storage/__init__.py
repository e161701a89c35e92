"""Files and folders in a file system, in S3 or in Google Cloud Storage, behind one class: `location.Location`.

    location.py   Location: an address with methods to read, write, list and delete
    store.py      Store: what a kind of storage implements
    local.py      the file system
    lease.py      mutual exclusion of processes

No other module of Longreel touches the file system, except those that need a real local file: they get one from
`Location.local` or `Location.writing`. Credentials come from the standard chain of each provider and are in no address.
"""
