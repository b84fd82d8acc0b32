#!/usr/bin/python3
"""S3 clients by boto3: s3_client.py ENDPOINT ACCOUNT-FILE AUTHORITY-FILE|- WORK [ARGUMENTS].

prepare                    makes an account, writes it to ACCOUNT-FILE, and makes the bucket
round-trips CLIENTS BYTES  each client puts an object, whole and in parts, gets it and deletes it
load                       some clients put and get small objects until SIGTERM; says `begun` after the first

The last line is JSON: answers by the node that gave them, and failures. No request is tried twice.
"""

import hashlib
import json
import os
import signal
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

BUCKET = "lab"
PART = 5 << 20
LOAD_CLIENTS = 4
LOAD_BYTES = 64 << 10
FAILURES_TOLD = 10

endpoint, account_file, authority, work = sys.argv[1:5]
lock = threading.Lock()
nodes, failures = Counter(), []


def client(service, key="none", secret="none"):
    config = Config(
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
        connect_timeout=10,
        read_timeout=30,
        proxies={},
    )
    verify = authority if authority != "-" else False
    new = boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=config,
        verify=verify,
    )
    new.meta.events.register("needs-retry", count)
    return new


def count(response=None, **_):
    if response is not None:
        with lock:
            nodes[response[0].headers.get("x-node", "")] += 1


def failed(what):
    with lock:
        if len(failures) < FAILURES_TOLD:
            failures.append(what)


def account():
    with open(account_file, encoding="utf-8") as file:
        return json.load(file)


def prepare():
    iam = client("iam")
    iam.create_user(UserName="lab")
    key = iam.create_access_key(UserName="lab")["AccessKey"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="lab", PolicyName="all", PolicyDocument=json.dumps(everything))
    keys = [key["AccessKeyId"], key["SecretAccessKey"]]
    with open(account_file, "w", encoding="utf-8") as file:
        json.dump(keys, file)
    client("s3", *keys).create_bucket(Bucket=BUCKET)
    try:
        client("s3", keys[0], "another").list_objects_v2(Bucket=BUCKET)
    except Exception as error:
        if "SignatureDoesNotMatch" in str(error):
            return
    failed("the store takes requests with a wrong signature")


def round_trip(number, size):
    s3 = client("s3", *account())
    # What a path may hold that has to be escaped, and a proxy must leave as it is.
    key = f"dir {number}/ü+%2F(1)=~&.bin"
    data = os.urandom(size)
    wanted = hashlib.sha256(data).hexdigest()
    s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    compare("whole", wanted, s3.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(1 << 20))

    started = s3.create_multipart_upload(Bucket=BUCKET, Key=key)
    of = {"Bucket": BUCKET, "Key": key, "UploadId": started["UploadId"]}
    parts = range(0, size, PART)

    def upload(numbered):
        number, at = numbered
        answer = s3.upload_part(PartNumber=number, Body=data[at : at + PART], **of)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(upload, enumerate(parts, 1)))
    s3.complete_multipart_upload(MultipartUpload={"Parts": done}, **of)
    tag = s3.head_object(Bucket=BUCKET, Key=key)["ETag"].strip('"')
    if not tag.endswith(f"-{len(parts)}"):
        failed(f"the object is not one of {len(parts)} parts: {tag}")
    path = f"{account_file}.{number}"
    s3.download_file(BUCKET, key, path, Config=TransferConfig(multipart_threshold=PART, multipart_chunksize=PART))
    with open(path, "rb") as file:
        compare("in parts", wanted, iter(lambda: file.read(1 << 20), b""))
    os.unlink(path)
    s3.delete_object(Bucket=BUCKET, Key=key)


def compare(what, wanted, pieces):
    got = hashlib.sha256()
    for piece in pieces:
        got.update(piece)
    if got.hexdigest() != wanted:
        failed(f"{what}: what came back is not what was sent")


def round_trips(clients, size):
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(round_trip, number, size) for number in range(clients)]:
            if error := done.exception():
                failed(repr(error))


def load():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def go_on(number):
        s3, data, key = client("s3", *account()), os.urandom(LOAD_BYTES), f"load-{os.getpid()}-{number}"
        while not stop.is_set():
            try:
                s3.put_object(Bucket=BUCKET, Key=key, Body=data)
                if s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() != data:
                    failed("what came back is not what was sent")
            except Exception as error:
                failed(repr(error))
            if number == 0:
                print("begun")

    threads = [threading.Thread(target=go_on, args=(number,)) for number in range(LOAD_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if work == "prepare":
    prepare()
elif work == "round-trips":
    round_trips(int(sys.argv[5]), int(sys.argv[6]))
else:
    load()
print(json.dumps({"nodes": nodes, "failures": failures}))
