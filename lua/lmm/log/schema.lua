--- The tables of a log.
---
--- Messages make a tree: each stands behind its `parent`, and is there once, whatever the number of requests that begin
--- with it. `digest` names a message with all that come before it. So an exchange needs no more than two of them: the
--- last one that was sent, and the answer. A request without messages stands there as one whose JSON is all of it.
---
--- In JSON, { "lmm.medium": {...} } stands for a medium (see lmm.log.plain).
local schema = { version = 1 }

schema.statements = {
  [[CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    parent INTEGER,
    digest TEXT NOT NULL UNIQUE,
    json TEXT NOT NULL)]],
  "CREATE INDEX message_parent ON message (parent)",

  -- What else requests carry: their fields, and what lmm makes of options.
  [[CREATE TABLE fields (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    json TEXT NOT NULL)]],

  -- `path`, `size` and `mtime` say where the bytes were seen last.
  [[CREATE TABLE medium (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    mime TEXT,
    size INTEGER,
    width INTEGER,
    height INTEGER,
    path TEXT,
    mtime REAL,
    is_kept INTEGER NOT NULL DEFAULT 0)]],
  "CREATE INDEX medium_path ON medium (path)",
  [[CREATE TABLE message_medium (
    message INTEGER NOT NULL,
    medium INTEGER NOT NULL,
    PRIMARY KEY (message, medium)) WITHOUT ROWID]],
  "CREATE INDEX message_medium_medium ON message_medium (medium)",

  -- `details` is the JSON of what a reply or an error has beside the columns.
  [[CREATE TABLE exchange (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chat INTEGER,
    kind TEXT NOT NULL,
    time REAL NOT NULL,
    server TEXT NOT NULL,
    model TEXT,
    fields INTEGER NOT NULL,
    question INTEGER NOT NULL,
    answer INTEGER,
    first_token REAL,
    total REAL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    cost REAL,
    finish_reason TEXT,
    error TEXT,
    is_cached INTEGER NOT NULL DEFAULT 0,
    key TEXT,
    details TEXT NOT NULL)]],
  -- No more indexes than each new exchange needs: each costs it a page.
  "CREATE INDEX exchange_key ON exchange (key) WHERE key IS NOT NULL",
  "CREATE INDEX exchange_answer ON exchange (answer)",

  -- The words of each exchange, under its id; the texts themselves stand in the messages.
  "CREATE VIRTUAL TABLE words USING fts5 (question, answer, content = '', tokenize = 'unicode61 remove_diacritics 2')",

  ("PRAGMA user_version = %d"):format(schema.version),
}

return schema
