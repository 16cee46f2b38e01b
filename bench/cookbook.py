# usage: python cookbook.py URL IN.jsonl OUT.jsonl AT_ONCE
#
# Rows as OpenAI's own Python package asks them in the ways that its cookbook shows: AsyncOpenAI, a semaphore, pictures
# read and encoded in the program, a line of JSON for each answer. IN.jsonl is what `lmm batch` takes, with pictures as
# paths.
import asyncio
import base64
import json
import sys

import openai


def encode(part):
    if part["type"] != "image_url":
        return part
    with open(part["image_url"]["url"], "rb") as picture:
        text = base64.b64encode(picture.read()).decode()
    return {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + text}}


async def main(url, source, output, at_once):
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=3)
    semaphore = asyncio.Semaphore(int(at_once))

    async def ask(record, out):
        body = record["body"]
        async with semaphore:
            messages = [{**m, "content": [encode(p) for p in m["content"]]} for m in body["messages"]]
            reply = await client.chat.completions.create(model=body["model"], messages=messages)
        out.write(json.dumps({"custom_id": record["custom_id"], "response": reply.model_dump()}) + "\n")

    with open(source) as lines, open(output, "w") as out:
        await asyncio.gather(*[ask(json.loads(line), out) for line in lines])


asyncio.run(main(*sys.argv[1:]))
