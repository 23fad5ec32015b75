"""An asynchronous client for S3: one bucket, over the one HTTP client, with signatures and credentials by botocore.

It works with AWS and with everything else that speaks S3 (MinIO, Ceph, SeaweedFS, R2).  Import from its modules.  All but
``address`` load botocore, which takes a third of a second; code that may run without a bucket imports them inside a function.

Open and close::

    from twistpi.s3.address import parse_bucket
    from twistpi.s3.bucket import open_bucket

    address = parse_bucket("s3://bucket/prefix", endpoint=None, region=None, style="auto")  # TwistpiError for bad settings
    bucket = open_bucket(address, reactor, offload, reactor.callFromThread, environ, extra_ca_file=None)  # asks nothing yet
    bucket.close()                                                                                        # at the end

Keys are text relative to the prefix of the address; ``/`` divides.  All methods are called in the reactor's thread::

    await bucket.put(key, b"bytes")                      # small things; if_absent=True may raise ObjectExists
    await bucket.put_file(key, file, size, sha256)       # file.fileno(), from offset 0; in parts above 64 MiB
    await bucket.put_stream(key, pieces)                 # an async iterator of bytes, of unknown length; holds one part (16 MiB)
    response = await bucket.get(key, first=0, last=None) # http.client.Response: read, write_to, deliver, discard
    content = await bucket.read(key, limit)              # a small object
    size = await bucket.download(key, write)             # write(bytes) in threads; goes on after broken connections
    info = await bucket.head(key)                        # ObjectInfo(key, size, modified, sha256), or None
    await bucket.delete(key)                             # no matter whether it was there
    page = await bucket.list(prefix, after="", limit=1000)          # ObjectPage(objects, is_last), by key
    async for info in bucket.walk(prefix): ...                      # all of them
    url = await bucket.presign(key, seconds, filename="demo.whl", content_type="application/zip")

Errors (``twistpi.s3.errors``): ``NoSuchObject`` (a ``LookupError``) from ``get``, ``read`` and ``download``; ``BucketRefused``
when somebody has to do something: no rights, no such bucket, a wrong key or clock; ``BucketUnavailable`` after attempts for some
seconds.  The last two are ``TwistpiError`` and become 500 and 503.  What fails for a moment is tried again in here.

For threads and commands ``threads.BlockingBucket`` has the same methods, and ``threads.running`` runs a reactor for a command.
"""
