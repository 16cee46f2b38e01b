-- What a conversation is for other programs and for people.
local core = require "lmm.core"
local fake = require "spec.support.fake"
local json = require "lmm.json"
local lmm = require "lmm"
local shell = require "spec.support.shell"

local PNG = "spec/media/picture.png"

local function begun(messages)
  local net = fake.net { fake.whole "answer" }
  return net:connect():conversation { messages = messages }, net
end

local MESSAGES = {
  { role = "system", content = "Be brief." },
  { role = "user", content = { { type = "text", text = "What is *this*?" }, lmm.image(PNG, { detail = "low" }) } },
  { role = "assistant", content = lmm.null, tool_calls = { { id = "a", type = "function",
    ["function"] = { name = "look", arguments = '{"at":"it"}' } } } },
  { role = "tool", tool_call_id = "a", content = "a ``` in it" },
  { role = "assistant", content = "A picture." },
}

describe("exporting to openai", function()
  it("gives the messages as they are sent", function()
    local chat, net = begun(MESSAGES)
    local list = assert(chat:export "openai")
    assert.equal("data:image/png;base64," .. core.base64.encode(shell.read(PNG)), list[2].content[2].image_url.url)
    assert.equal(lmm.null, list[3].content)
    assert(chat:ask "more")
    local sent = net.requests[1].body.messages
    sent[#sent] = nil
    assert.same(sent, list)
    list[1].content = "changed"
    assert.equal("Be brief.", chat.messages[1].content)
    assert.same({}, (begun {}):export "openai")
    assert.equal("[]", json.encode((begun {}):export "openai"))
  end)

  it("gives calls as servers take them back", function()
    local chat = begun { { role = "user", content = "q" }, { role = "assistant", tool_calls = { { id = "a",
      type = "function", ["function"] = { name = "look", arguments = '{"at":"i' } } } } }
    for _, opts in ipairs { { media = true }, { media = false } } do
      local list = assert(chat:export("openai", opts))
      assert.equal("{}", list[2].tool_calls[1]["function"].arguments)
    end
    assert.equal('{"at":"i', chat.messages[2].tool_calls[1]["function"].arguments)
  end)

  it("puts a text in the place of media where that is asked for, and reads no file", function()
    local path = os.tmpname()
    shell.write(path, shell.read(PNG))
    local content = { lmm.image(path), lmm.image { bytes = shell.read(PNG) }, lmm.image "https://host/x.png",
      lmm.video("data:video/jpeg;base64,AAAA"), lmm.image(nil, { uuid = "u1" }), "text" }
    os.remove(path)
    local chat = begun { { role = "user", content = content } }
    assert.same({ { type = "text", text = "[image: " .. path .. "]" },
      { type = "text", text = ("[image: image/png, %d bytes]"):format(#shell.read(PNG)) },
      { type = "text", text = "[image: https://host/x.png]" },
      { type = "text", text = "[video: video/jpeg, 3 bytes]" }, { type = "text", text = "[image: uuid u1]" },
      "text" }, chat:export("openai", { media = false })[1].content)
    assert.refused("No such file or directory", chat:export "openai")
    assert.same(content, chat.messages[1].content)
  end)
end)

describe("exporting", function()
  it("names media whose size is not known yet", function()
    local pages = assert(lmm.pages "spec/media/document.pdf")
    local film = lmm.video { frames = { lmm.image(PNG, { convert = "jpeg" }) } }
    local chat = begun { { role = "user", content = { pages[1], film } } }
    local told = { "[image: image/png]", "[video: video/jpeg]" }
    local list = chat:export("openai", { media = false })[1].content
    assert.same(told, { list[1].text, list[2].text })
    assert.equal(table.concat(told, "\n\n"), chat:export "markdown":match "%[.*%]")
  end)
end)

describe("exporting to markdown", function()
  it("gives a text with a heading for each message", function()
    assert.equal(([[
## System

Be brief.

## User

What is *this*?

![picture.png](<spec/media/picture.png>)

## Assistant

Call of `look`:

```json
{"at":"it"}
```

## Result

````
a ``` in it
````

## Assistant

A picture.
]]), (begun(MESSAGES)):export "markdown")
    assert.equal("\n", (begun {}):export "markdown")
  end)

  it("links to files and URLs, and says what else there is", function()
    local path = os.tmpname() .. " <a> [b].txt"
    shell.write(path, "text")
    local chat = begun { { role = "user", content = { lmm.file(path), lmm.image "https://host/a b.png",
      lmm.video "https://host/x.mp4", lmm.image { bytes = shell.read(PNG) },
      { type = "input_audio", input_audio = {} } } }, { role = "critic", content = "hm", refusal = "no" } }
    os.remove(path)
    local text = chat:export "markdown"
    assert(text:find("[" .. path:match "[^/]*$":gsub("[%[%]]", " ") .. "](<" .. path:gsub("<", "%%3C"):gsub(">", "%%3E")
      .. ">)\n\n", 1, true), text)
    assert(text:find("\n\n[image: it cannot be sent]\n\n[video](<https://host/x.mp4>)\n\n[image: image/png, "
      .. #shell.read(PNG)
      .. " bytes]\n\n[input_audio]\n\n## critic\n\nhm\n\nno\n", 1, true), text)
  end)

  it("links to what a tool has given", function()
    local chat = begun { MESSAGES[2], MESSAGES[3], { role = "tool", tool_call_id = "a", content = {
      { type = "text", text = "# seen" }, lmm.image(PNG), { type = "text", text = "twice" } } } }
    assert.matches("## Result\n\n```\n# seen\n```\n\n![picture.png](<spec/media/picture.png>)\n\n```\ntwice\n```\n",
      chat:export "markdown", 1, true)
  end)

  it("says what in a history is no message", function()
    local chat = begun(MESSAGES)
    for _, wrong in ipairs { 5, "x", { content = "no role" }, { role = "user", content = 5 } } do
      chat.messages[2] = wrong
      for _, format in ipairs { "markdown", "openai" } do
        assert.refused("^the conversation cannot be exported: messages%[2%]", chat:export(format))
      end
    end
  end)

  it("has no other options, and there are no other formats", function()
    local chat = begun(MESSAGES)
    assert.raises("media is an option of \"openai\"", chat.export, chat, "markdown", { media = false })
    assert.raises("chat:export writes \"markdown\" and \"openai\", not \"html\"", chat.export, chat, "html")
    assert.raises("not nil", chat.export, chat)
    assert.raises("unknown option 'medium'", chat.export, chat, "openai", { medium = false })
    assert.raises("with a colon", chat.export, "openai")
  end)
end)
