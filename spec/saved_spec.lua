-- Conversations in files: what is saved comes back as it was, media where they were, and nothing else is taken for it.
local core = require "lmm.core"
local fake = require "spec.support.fake"
local json = require "lmm.json"
local lmm = require "lmm"
local shell = require "spec.support.shell"

local folder = shell.output "mktemp -d":match "%S+"
local path = folder .. "/chat.json"

teardown(function() os.execute("rm -rf " .. folder) end)

before_each(function()
  shell.run("rm -rf %s && mkdir -p %s/media", folder, folder)
  for _, name in ipairs { "picture.png", "baseline.jpg" } do
    shell.write(folder .. "/media/" .. name, shell.read("spec/media/" .. name))
  end
end)

local PNG, JPEG = folder .. "/media/picture.png", folder .. "/media/baseline.jpg"
local picture = shell.read "spec/media/picture.png"
local sum = shell.output "sha256sum spec/media/picture.png":match "%x+"

--- A client whose requests are all answered, and the network.
local function client()
  local net = fake.net { fake.whole "answer" }
  return net:connect { retry = false }, net
end

--- A conversation that has asked this.
local function asked(opts, ...)
  local chat = client():conversation(opts)
  assert(chat:ask(...))
  return chat
end

--- What is in the file.
local function content()
  return assert(json.decode(shell.read(path)))
end

--- Writes the file with a change.
local function change(fn)
  local tree = content()
  fn(tree)
  shell.write(path, json.encode(tree))
end

--- The data URL that a loaded conversation sends for its part.
local function sent(chat, net)
  assert(chat:ask "again")
  return net.requests[#net.requests].body.messages[1].content[2]
end

describe("a saved conversation", function()
  it("comes back with its messages, fields and schema, and goes on", function()
    local chat = client():conversation { system = "Be brief.", temperature = 0.5, seed = 12,
      stop = lmm.array {}, logit_bias = { a = lmm.null }, schema = { type = "object" }, messages = {
        { role = "user", content = "first" },
        { role = "assistant", content = lmm.null, reasoning_content = "hm", tool_calls = { { id = "a",
          type = "function", ["function"] = { name = "f", arguments = "{}" },
          extra_content = { list = lmm.array {} } } } },
        { role = "tool", tool_call_id = "a", content = "42" },
        { role = "assistant", content = "än\0swer\n" },
        { role = "user", content = lmm.array {} } } }
    assert.is_true(chat:save(path))
    local other, net = client()
    local loaded = assert(other:load(path))
    assert.same(chat.messages, loaded.messages)
    assert.same(chat.fields, loaded.fields)
    assert.same(chat.opts, loaded.opts)
    net.replies[1] = fake.whole "{}"
    assert(loaded:ask("more", { temperature = 1 }))
    local body = net.requests[1].body
    assert.same({ 1, 12, 7 }, { body.temperature, body.seed, #body.messages })
    assert.equal("json_schema", body.response_format.type)
    assert.matches('"stop":%[%]', net.requests[1].text)
    assert.matches('"logit_bias":{"a":null}', net.requests[1].text)
  end)

  it("of nothing comes back as that", function()
    assert(client():conversation():save(path))
    assert.equal('{"format":"lmm.conversation","inline":0,"messages":[],"options":{"fields":{}},"version":1}',
      shell.read(path))
    local loaded = assert(client():load(path))
    assert.same({}, loaded.messages)
    assert.equal("answer", assert(loaded:ask "q").text)
  end)

  it("is written for its owner alone, again and again, in one step", function()
    local chat = asked(nil, "first")
    assert(chat:save(path))
    assert(chat:ask "second")
    assert(chat:save(path))
    assert.equal("600", shell.output("stat -c %a " .. path):match "%d+")
    assert.equal("chat.json\nmedia\n", shell.output("ls -A " .. folder))
    assert.equal(4, #content().messages)
  end)

  it("takes options over those that were saved", function()
    assert(client():conversation { temperature = 0, top_p = 1 }:save(path))
    local loaded = assert(client():load(path, { temperature = 1, timeout = 5, retry = false, headers = { A = "b" } }))
    assert.same({ temperature = 1, top_p = 1 }, loaded.fields)
    assert.same({ timeout = 5, retry = false, headers = { A = "b" } }, loaded.opts)
  end)

  it("holds no key, no header, and no text whose name says that it is a secret", function()
    local net = fake.net { fake.whole "answer" }
    local one = net:connect { api_key = "sk-very-secret-key", headers = { ["X-Api-Key"] = "hush-hush" } }
    local chat = one:conversation {
      headers = { Authorization = "Bearer hush-hush" }, extra_headers = { A = "hush-hush" }, api_key = "hush-hush",
      max_tokens = 9, timeout = 3, tools = { { type = "mcp", server_url = "http://host/",
        headers = { Authorization = "hush-hush" } },
        { type = "function", ["function"] = { name = "f", parameters = { properties = { headers = { type = "object" },
          token = { type = "string" } } } } } } }
    assert(chat:ask "q")
    assert(chat:save(path))
    local text = shell.read(path)
    assert.is_nil(text:find "hush" or text:find "very%-secret" or text:find "extra_headers")
    local fields = assert(client():load(path)).fields
    assert.equal(9, fields.max_tokens)
    assert.same({ headers = { type = "object" }, token = { type = "string" } },
      fields.tools[2]["function"].parameters.properties)
  end)

  it("holds no secret in whatever form, and every field that is none", function()
    local secret = { api_keys = { "hush-hush" }, tokens = { a = { "hush-hush" } }, credentials = "hush-hush",
      metadata = { accessKey = "hush-hush", ["author-token"] = "hush-hush", keywords_key = "hush-hush" },
      tools = { { type = "mcp", headers = { ["X-Foo"] = "hush-hush" }, authorization = "hush-hush" } },
      properties = { key = "hush-hush", keys = { "hush-hush" } } }
    local kept = { metadata = { author = "Ann", keywords = "a b", ["Co-Authors"] = "Bo" }, prompt_cache_key = "p",
      stop_token_ids = { 1, 2 }, tool_choice = "auto", response_format = { json_schema = { schema = {
        ["$defs"] = { token = { type = "string" } }, properties = { keys = { items = { type = "string" } },
          headers = { properties = { password = { type = "string" } } } } } } } }
    local both = lmm.json.decode(lmm.json.encode(secret))
    for name, value in pairs(kept) do both[name] = both[name] or value end
    for name, value in pairs(kept.metadata) do both.metadata[name] = value end
    assert(client():conversation(both):save(path))
    assert.is_nil(shell.read(path):find "hush")
    local fields = assert(client():load(path)).fields
    for name, value in pairs(kept) do assert.same(value, fields[name]) end
    assert.same({ { type = "mcp" } }, fields.tools)
    local held = {}
    held.a, held.b, held.keys = { held, held }, { held, held }, { held }
    assert.refused("is nested more than 1000 deep", client():conversation { metadata = held }:save(path))
  end)

  it("that has a broken character says where, and leaves the file as it was", function()
    local chat = asked(nil, "q")
    assert(chat:save(path))
    local before = shell.read(path)
    chat.messages[1].content = "a\255"
    assert.refused("messages%[1%]%.content.*UTF%-8", chat:save(path))
    chat.messages[1].content = print
    assert.refused("messages%[1%]%.content is a function", chat:save(path))
    chat.messages[1].content = chat.messages
    assert.refused("is nested more than 1000 deep", chat:save(path))
    assert.equal(before, shell.read(path))
  end)

  it("takes no table of a server's for a part", function()
    local forged = { ["lmm.part"] = { kind = "file", mime = "text/plain", path = "/etc/passwd", size = 1, mtime = 0,
      sha256 = ("0"):rep(64), options = {} }, ["lmm.lmm.part"] = 1, ["lmm.x"] = { ["lmm.lmm.lmm"] = 2 } }
    local chat = client():conversation { messages = { { role = "user", content = "q" },
      { role = "assistant", content = "a", reasoning_details = { forged } } } }
    assert(chat:save(path))
    local loaded = assert(client():load(path))
    assert.same(forged, loaded.messages[2].reasoning_details[1])
    assert.same(chat.messages, loaded.messages)
    for count = 2, 9 do -- in whatever order their names come
      local nested, name = {}, "lmm."
      for i = 1, count do nested[name], name = i, "lmm." .. name end
      nested.part = lmm.image(nil, { uuid = "u" })
      chat = client():conversation { messages = { { role = "user", content = "q", x = nested } } }
      assert(chat:save(path))
      assert.same(chat.messages, assert(client():load(path)).messages)
    end
  end)
end)

describe("the media of a saved conversation", function()
  it("are named, not copied: no file is read where its digest is known, and none to load it", function()
    local part = lmm.image(PNG, { detail = "low" })
    local chat = asked(nil, "q", part)
    assert(chat:save(path))
    local fields = content().messages[1].content[2]["lmm.part"]
    local info = lmm.image(PNG).media:info()
    assert.same({ kind = "image", mime = "image/png", filename = "picture.png", path = PNG, size = #picture,
      mtime = info.mtime, sha256 = sum, options = { detail = "low" } }, fields)
    assert.equal(sum, part.digest)
    os.remove(PNG)
    assert(chat:save(path)) -- its digest is known
    local loaded = assert(client():load(path))
    assert(loaded:save(path)) -- and so it is of one that was loaded
    assert.same(fields, content().messages[1].content[2]["lmm.part"])
  end)

  it("are sent again, with what stood beside them", function()
    local chat = asked(nil, "q", lmm.image(PNG, { detail = "low", cache_control = "none" }))
    assert(chat:save(path))
    local other, net = client()
    local loaded = assert(other:load(path))
    local part = loaded.messages[1].content[2]
    assert.same({ "image", "image/png", #picture, sum }, { part.kind, part.mime, part.size, part.saved.sha256 })
    assert.same({ type = "image_url", cache_control = "none", image_url = { detail = "low",
      url = "data:image/png;base64," .. core.base64.encode(picture) } }, sent(loaded, net))
    part = loaded.messages[1].content[2]
    assert.same({ lmm.image(PNG).width, lmm.image(PNG).height }, { part.width, part.height })
  end)

  it("of every kind and source come back", function()
    local jpeg = core.base64.encode(shell.read "spec/media/baseline.jpg")
    local sound = ("RIFF\36\0\0\0WAVEfmt \16\0\0\0\1\0\1\0\68\172\0\0\136\88\1\0\2\0\16\0data\0\0\0\0"):gsub("", "")
    local given = {
      lmm.image { bytes = picture }, lmm.image("https://host/x.png", { detail = "high" }),
      lmm.image("data:image/jpeg;base64," .. jpeg), lmm.video("data:video/jpeg;base64," .. jpeg .. "," .. jpeg),
      lmm.image(nil, { uuid = "known" }), lmm.file({ bytes = "some text" }, { filename = "a.txt" }),
      lmm.audio({ bytes = sound }, { format = "wav" }), lmm.file(JPEG), lmm.image(JPEG, { mime = "image/gif" }),
      lmm.image({ bytes = picture }, { check = false }),
    }
    for i, part in ipairs(given) do assert.is_nil(part.err, i .. tostring(part.err)) end
    local one, net = client()
    local chat = one:conversation()
    assert(chat:ask("q", (table.unpack or unpack)(given))) -- luacheck: ignore
    assert(chat:fork():ask "more")
    for _, opts in ipairs { {}, { inline = true } } do
      assert(chat:save(path, opts))
      local other, others = client()
      assert(assert(other:load(path)):ask "more")
      assert.same(net.requests[2].body.messages, others.requests[1].body.messages)
      local loaded = assert(other:load(path)).messages[1].content
      for i, part in ipairs(given) do assert.equal(part.is_unchecked, loaded[i + 1].is_unchecked) end
    end
  end)

  it("that are videos of frames come back as that, for servers that take them as pictures", function()
    local one = client()
    local chat = one:conversation()
    assert(chat:ask("q", lmm.video { frames = { JPEG, JPEG } }))
    assert(chat:save(path))
    local net = fake.net { fake.whole "a" }
    assert(assert(net:connect { dialect = "openai" }:load(path)):ask "more")
    local types = {}
    for i, item in ipairs(net.requests[1].body.messages[1].content) do types[i] = item.type end
    assert.same({ "text", "image_url", "image_url" }, types)
  end)

  it("lose a uuid that stands beside a source: a file does not vouch for it", function()
    local opts = { uuid = "stranger", trust_uuid = true }
    local chat = asked(nil, "q", lmm.image({ bytes = picture }, opts), lmm.image(PNG, opts),
      lmm.image("https://host/y.png", opts), lmm.image(nil, { uuid = "known" }))
    assert(chat:save(path))
    local other, net = client()
    assert(assert(other:load(path)):ask "more")
    local uuids = {}
    for i, part in ipairs(net.requests[1].body.messages[1].content) do uuids[i] = part.uuid or false end
    assert.same({ false, false, false, false, "known" }, uuids)
  end)

  it("go into the file where that is asked for, whatever becomes of theirs", function()
    local chat = asked(nil, "q", lmm.image(PNG))
    assert(chat:save(path, { inline = true }))
    os.remove(PNG)
    local other, net = client()
    local loaded = assert(other:load(path))
    assert.equal("data:image/png;base64," .. core.base64.encode(picture), sent(loaded, net).image_url.url)
    assert.refused("cannot read '" .. PNG:gsub("%p", "%%%0"), chat:save(folder .. "/other", { inline = true }))
    assert.equal("chat.json\nmedia\n", shell.output("ls -A " .. folder))
  end)

  it("in the file do not count for its limit", function()
    local bytes = ("x"):rep(52 * 1024 * 1024)
    assert(client():conversation { messages = { { role = "user", content = { lmm.file { bytes = bytes } } } } }
      :save(path))
    assert(#shell.read(path) > 69 * 1024 * 1024)
    assert.equal(#bytes, assert(client():load(path)).messages[1].content[1].size)
  end)

  it("are not named to a server by a digest that only the file claims", function()
    assert(asked(nil, "q", lmm.image(JPEG)):save(path))
    change(function(tree) tree.messages[1].content[2]["lmm.part"].sha256 = sum end)
    local net = fake.net { fake.whole "answer" }
    local one = net:connect { dialect = "vllm" }
    local loaded = assert(one:load(path))
    assert(loaded:ask "more")
    local png = lmm.image(PNG)
    assert(one:conversation { messages = { { role = "user", content = { png } } } }:save(path))
    assert.equal(sum, png.digest)
    assert(one:conversation():ask("q", png))
    assert.truthy(net.requests[2].text:find(core.base64.encode(picture), 1, true))
    assert(loaded:ask "more") -- whose own is known from now on
    assert.is_nil(net.requests[3].text:find("base64,", 1, true))
  end)

  it("that were touched are the same, by their SHA-256", function()
    assert(asked(nil, "q", lmm.image(PNG)):save(path))
    shell.run("touch -d 2001-01-01 %s", PNG)
    local other, net = client()
    local loaded = assert(other:load(path))
    assert.matches("base64,iVBOR", sent(loaded, net).image_url.url)
    assert(loaded:save(path))
    assert.equal(lmm.image(PNG).media:info().mtime, content().messages[1].content[2]["lmm.part"].mtime)
  end)

  it("that are gone or others are told before anything is sent, until they are there again", function()
    assert(asked(nil, "q", lmm.image(PNG)):save(path))
    local other, net = client()
    local loaded = assert(other:load(path))
    local place = PNG:gsub("%p", "%%%0")
    local hint = '.*media = { %["' .. (folder .. "/media"):gsub("%p", "%%%0") .. '"%] = '
    shell.run("mv %s %s.kept", PNG, PNG)
    assert.refused("^cannot read '" .. place .. "': No such file or directory" .. hint, loaded:ask "more")
    shell.write(PNG, picture .. "x")
    assert.refused("^'" .. place .. "' is not the file of the saved conversation: it has %d+ bytes, not %d+" .. hint,
      loaded:ask "more")
    shell.write(PNG, (picture:sub(1, -2) .. "x"))
    assert.refused("^'" .. place .. "' is not the file [^:]*: its SHA%-256 is %x+, not " .. sum .. hint,
      loaded:ask "more")
    assert.refused("No such file or directory", lmm.connect():request("POST", "/x", lmm.form {
      a = assert(other:load(path, { media = { [folder] = "/nowhere" } })).messages[1].content[2] }))
    assert.same({ 0, 2 }, { #net.requests, #loaded.messages })
    shell.run("mv %s.kept %s", PNG, PNG)
    assert.equal("answer", assert(loaded:ask "more").text)
  end)

  it("that were moved are found where they are said to be", function()
    local chat = client():conversation()
    assert(chat:ask("q", lmm.image(PNG)))
    assert(chat:save(path))
    shell.run("mv %s/media %s/moved", folder, folder)
    for _, map in ipairs { { [folder .. "/media"] = folder .. "/moved" },
      { [folder .. "/media//"] = folder .. "/moved/", [folder] = "/nowhere", [folder .. "/med"] = "/other" },
      { [PNG] = folder .. "/moved/picture.png" } } do
      local other, net = client()
      local loaded = assert(other:load(path, { media = map }))
      assert.equal(folder .. "/moved/picture.png", loaded.messages[1].content[2].path)
      assert.matches("base64,iVBOR", sent(loaded, net).image_url.url)
    end
    -- however the path was written, in a file of an older lmm, too
    local odd = folder .. "/./media//."
    shell.run("mv %s/moved %s/media", folder, folder)
    assert(asked(nil, "q", lmm.image(odd .. "/picture.png")):save(path))
    assert.equal(PNG, content().messages[1].content[2]["lmm.part"].path)
    shell.run("mv %s/media %s/moved", folder, folder)
    for _, from in ipairs { odd, folder .. "/media" } do
      for _, saved in ipairs { PNG, odd .. "/picture.png" } do
        change(function(tree) tree.messages[1].content[2]["lmm.part"].path = saved end)
        local loaded = assert(client():load(path, { media = { [from] = folder .. "/moved" } }))
        assert.equal(folder .. "/moved/picture.png", loaded.messages[1].content[2].path)
      end
    end
    local one = client()
    assert.raises("media is a table of folders", one.load, one, path, { media = { 1 } })
  end)

  it("that changed since the part was made are told where their digest is not known", function()
    local chat = client():conversation { messages = { { role = "user", content = { lmm.image(PNG) } } } }
    shell.write(PNG, "changed")
    assert.refused("has changed since the part was made", chat:save(path))
    os.remove(PNG)
    local place = path:gsub("%p", "%%%0")
    local err = assert.refused("^cannot save the conversation in '" .. place .. "': cannot read '.*No such file",
      chat:save(path))
    assert.equal("invalid", err.kind)
    assert.refused("^cannot save the conversation in '" .. place .. "': cannot read 'gone.jpg'",
      client():conversation { messages = { { role = "user", content = { lmm.image "gone.jpg" } } } }:save(path))
    assert.is_nil(shell.read(path))
  end)

  it("with names that are no UTF-8 go into the file alone", function()
    local name = folder .. "/media/a\255.png"
    shell.write(name, picture)
    local chat = asked(nil, "q", lmm.image(name))
    assert.refused("media/a\239\191\189%.png' is not UTF%-8, and cannot be saved: save with { inline = true }",
      chat:save(path))
    assert(chat:save(path, { inline = true }))
    local other, net = client()
    assert.matches("base64,iVBOR", sent(assert(other:load(path)), net).image_url.url)
  end)

  it("are named from the root on", function()
    for _, given in ipairs { "spec/media/picture.png", "./spec//media/./picture.png" } do
      assert(asked(nil, "q", lmm.image(given)):save(path))
      assert.equal(shell.output "pwd":match "[^\n]+" .. "/spec/media/picture.png",
        content().messages[1].content[2]["lmm.part"].path)
    end
  end)
end)

describe("saving", function()
  it("overwrites nothing but saved conversations and empty files", function()
    local chat = asked(nil, "q")
    for _, text in ipairs { "notes", '{"format":"other"}', "{}", '{"format": "lmm.conversation-not"}', "\0",
      (" "):rep(5000) .. "notes" } do
      shell.write(path, text)
      assert.refused("^'" .. path:gsub("%p", "%%%0") .. "' is there, and is no saved conversation: it is not "
        .. "overwritten", chat:save(path))
      assert.equal(text, shell.read(path))
    end
    for _, text in ipairs { "", '{ "format" : "lmm.conversation", cut', '{"version": 9, "format": "lmm.conversation"}',
      (" "):rep(5000) .. '{"version": 1, "format": "lmm.conversation"}' } do
      shell.write(path, text)
      assert.is_true(chat:save(path))
      assert.equal(2, #content().messages)
    end
  end)

  it("replaces a link, and refuses what is no file and what is nowhere", function()
    local chat = asked(nil, "q")
    shell.write(folder .. "/notes", "notes")
    shell.run("ln -s notes %s", path)
    assert.refused("is no saved conversation", chat:save(path))
    shell.run("ln -sf nothing %s", path)
    assert(chat:save(path))
    assert.equal("600", shell.output("stat -c %a " .. path):match "%d+")
    assert.equal("", shell.output("readlink " .. path))
    shell.run("mkfifo %s/fifo", folder)
    assert.refused("it is a fifo, not a file", chat:save(folder .. "/fifo"))
    assert.refused("it is a directory, not a file", chat:save(folder))
    assert.refused("^cannot save the conversation in '/nowhere/x': No such file or directory", chat:save "/nowhere/x")
    assert.raises("a path expected, not a nil", chat.save, chat)
    assert.raises("the path is empty", chat.save, chat, "")
    assert.raises("holds a NUL byte", chat.save, chat, "a\0b")
    assert.raises("unknown option 'inlin' %(did you mean 'inline'", chat.save, chat, path, { inlin = true })
    assert.raises("with a colon", chat.save, path)
  end)

  it("says what of a history cannot come back", function()
    local chat = asked(nil, "q")
    chat.messages[2] = { content = "no role" }
    assert.refused("^the conversation cannot be saved: messages%[2%]%.role is missing$", chat:save(path))
    chat = client():conversation { callback = print }
    assert.refused("^the conversation cannot be saved: options.fields.callback is a function, which JSON cannot hold$",
      chat:save(path))
  end)

  it("has a limit, which is told", function()
    local chat = asked(nil, ("x"):rep(64 * 1024 * 1024))
    assert.equal("limit", assert.refused("more than 64 MiB of text", chat:save(path)).kind)
    local list = {}
    for i = 1, 499996 do list[i] = lmm.array {} end
    local message = { role = "user", content = "q", x = list, y = list, z = { {} } }
    chat = client():conversation()
    chat.messages = { message }
    assert.equal("limit", assert.refused("more than 1000000 lists and objects", chat:save(path)).kind)
    message.z[1] = nil
    assert(chat:save(path)) -- as many as can be
    assert.equal(499996, #assert(client():load(path)).messages[1].y)
    local text = shell.read(path)
    shell.write(path, (text:gsub("%[%[%],", "[[],[],", 1)))
    assert.refused("more than 1000000 lists and objects", client():load(path))
    shell.run("rm %s && truncate -s 65M %s", path, path)
    assert.refused("more than 64 MiB of text", client():load(path))
    shell.write(path, '{"format":"lmm.conversation","inline":2000000000,"messages":[]}')
    assert.refused("more than 960 MiB of media", client():load(path))
  end)
end)

describe("loading", function()
  local chat

  before_each(function()
    chat = asked({ system = "s" }, "q", lmm.image(PNG), lmm.image { bytes = picture:sub(1, 100) .. picture:sub(101) })
    assert(chat:save(path))
  end)

  it("tells what is not there, and what is none", function()
    local one = client()
    local place = path:gsub("%p", "%%%0")
    assert.refused("^cannot load the conversation in 'gone': No such file or directory$", one:load "gone")
    assert.refused("it is a directory, not a file", one:load(folder))
    for text, pattern in pairs {
      [""] = "^'" .. place .. "' is empty", notes = "is no saved conversation", ["[1]"] = "is no saved conversation",
      ['{"format":"other","version":1}'] = "is no saved conversation", ["5"] = "is no saved conversation",
      ['{"format":"lmm.conversation","messages":[],"version":2}'] = "saved by a newer lmm: .* version 2, .* update lmm",
      ['{"format":"lmm.conversation","messages":[],"version":1e300}'] = "saved by a newer lmm",
      ['{"format":"lmm.conversation","messages":[]}'] = "its version is missing",
      ['{"format":"lmm.conversation","messages":[{"role":"user","content":"caf\233"}],"version":1}'] =
        "^the saved conversation in .* is damaged: it is not UTF%-8 from byte 71 on",
      ['{"format":"lmm.conversation","messages":[],"version":0}'] = "version is no whole number",
      ['{"format":"lmm.conversation","version":1}'] = "messages is missing",
      ['{"format":"lmm.conversation","messages":[1,],"version":1}'] = "^the saved conversation in .* is damaged",
      ['{"format":"lmm.conversation","messages":' .. ("["):rep(5000)] = "is damaged: .*nested",
    } do
      shell.write(path, text)
      assert.refused(pattern, one:load(path))
    end
    assert.raises("a path expected, not a table", one.load, one, {})
    assert.raises("takes a table of options, not a string", one.load, one, path, "x")
    assert.raises("'media' must be a table", one.load, one, path, { media = "x" })
    assert.raises("did you mean 'timeout'", one.load, one, path, { timeot = 1 })
    assert.raises("keeps its own messages", one.load, one, path, { messages = {} })
  end)

  it("gives all of it or nothing, wherever the file is cut", function()
    local text = shell.read(path)
    local one = client()
    for count = 1, #text - 1 do
      shell.write(path, text:sub(1, count))
      local loaded, message = one:load(path)
      local expected = count < 28 and "is no saved conversation" or "is damaged: "
      assert(loaded == nil and message:find(expected, 1, true), message)
    end
    shell.write(path, text)
    assert.equal(3, #assert(one:load(path)).messages)
  end)

  it("says which field was changed to what cannot be", function()
    local text = shell.read(path)
    local function part(tree) return tree.messages[2].content[2]["lmm.part"] end
    for pattern, fn in pairs {
      ["messages is a string, not a list"] = function(tree) tree.messages = "x" end,
      ["messages is no list"] = function(tree) tree.messages = { a = 1 } end,
      ["messages%[2%] is null"] = function(tree) tree.messages[2] = lmm.null end,
      ["messages%[1%]%.role is missing"] = function(tree) tree.messages[1].role = nil end,
      ["messages%[1%]%.role is a number"] = function(tree) tree.messages[1].role = 1 end,
      ["messages%[1%]%.role is empty"] = function(tree) tree.messages[1].role = "" end,
      ["messages%[1%]%.content is a number"] = function(tree) tree.messages[1].content = 1 end,
      ["messages%[2%]%.content%[1%] is a boolean"] = function(tree) tree.messages[2].content[1] = true end,
      ["messages%[3%]%.tool_calls is a string"] = function(tree) tree.messages[3].tool_calls = "x" end,
      ["messages%[3%]%.tool_calls%[1%] is a number"] = function(tree) tree.messages[3].tool_calls = { 1 } end,
      ["messages%[3%]%.name is a table"] = function(tree) tree.messages[3].name = lmm.array {} end,
      ["messages%[2%]%.content%[2%]%.kind is not one of"] = function(tree) part(tree).kind = "x" end,
      ["messages%[2%]%.content%[2%]%.kind is missing"] = function(tree) part(tree).kind = nil end,
      ["content%[2%]%.path is not a path"] = function(tree) part(tree).path = 5 end,
      ["content%[2%]%.size is not a number of bytes"] = function(tree) part(tree).size = -1 end,
      ["content%[2%]%.mtime is missing"] = function(tree) part(tree).mtime = nil end,
      ["content%[2%]%.sha256 is not 64 hex digits"] = function(tree) part(tree).sha256 = "x" end,
      ["content%[2%]%.mime is missing"] = function(tree) part(tree).mime = nil end,
      ["content%[2%]%.mime is not a media type"] = function(tree) part(tree).mime = "image/p\195\188ng" end,
      ["content%[2%]%.options is not an object"] = function(tree) part(tree).options = { 1 } end,
      ["content%[2%] is no object"] = function(tree) tree.messages[2].content[2]["lmm.part"] = 1 end,
      ["content%[2%]%.options: lmm%.image: .*max_side"] = function(tree) part(tree).options = { max_side = "x" } end,
      ["content%[2%]%.options: 'max_side' is not for a file of a saved conversation"] = function(tree)
        part(tree).options = { max_side = 512 }
      end,
      ["content%[2%]%.options: 'check' is not for"] = function(tree) part(tree).options = { check = false } end,
      ["content%[2%]%.path, %.base64 or %.url is missing"] = function(tree) part(tree).path = nil end,
      ["content%[3%]%.base64 is wrong at character 1"] = function(tree)
        tree.messages[2].content[3]["lmm.part"].base64 = "?"
      end,
      ["content%[3%]%.options: .*uuid is a text"] = function(tree)
        tree.messages[2].content[3]["lmm.part"] = { kind = "image", options = { uuid = 1 } }
      end,
      ["options: client:load: unknown option 'x'"] = function(tree) tree.options.x = 1 end,
      ["options%.timeout does not belong there"] = function(tree) tree.options.timeout = 1 end,
      ["options is no object"] = function(tree) tree.options = 1 end,
      ["options%.fields is no object"] = function(tree) tree.options.fields = { 1 } end,
      ["options: client:load: option 'schema' must be a table"] = function(tree) tree.options.schema = "x" end,
      ["options: model must be a string"] = function(tree) tree.options.fields = { model = 1 } end,
      ["options: 'guided_json' is no longer heeded"] = function(tree) tree.options.fields = { guided_json = {} } end,
    } do
      shell.write(path, text)
      change(fn)
      assert.refused("^the saved conversation in '.-' was changed, and cannot be used: .*" .. pattern,
        client():load(path))
    end
  end)

  it("fails in good order, or gives what can be asked, whatever is in the file", function()
    local text, one = shell.read(path), client()
    local random = 1
    local function number(most)
      random = random * 16807 % 2147483647
      return random % most + 1
    end
    local loads = 0
    for _ = 1, 1500 do
      local bytes = text
      for _ = 1, number(3) do
        local at = number(#bytes)
        local put = ({ "", "0", '"', "[", "}", "null", "\255", text:sub(at, at + number(40)) })[number(8)]
        bytes = bytes:sub(1, at - 1) .. put .. bytes:sub(at + number(9))
      end
      shell.write(path, bytes)
      local loaded, message, err = one:load(path)
      if loaded then
        loads = loads + 1
        loaded:ask "q"
      else
        assert(type(message) == "string" and err.message == message)
      end
    end
    assert(loads > 20, loads)
  end)

  it("takes what an editor has laid out anew", function()
    shell.write(path, "\n" .. shell.read(path):gsub(",", ",\n  ") .. "\n")
    assert.equal(3, #assert(client():load(path)).messages)
    assert(chat:save(path))
  end)
end)
