--- Commands: going back and sideways in the conversation.
local console = require "lmm.cli.console"
local texts = require "lmm.text"
local words_of = require "lmm.cli.chat.session".words

local NONE = "there is no question yet"

local function undo(session)
  local chat = session:chat()
  local gone = chat:question(-1)
  if not gone then console.misuse(NONE) end
  chat:undo()
  if session.unanswered and session.unanswered.n then session.unanswered = nil end -- its place may be gone
  local last = chat:question(-1)
  session.screen:note("taken back: %s\n%s", texts.line(words_of(gone), 200),
    last and "the last question is now: " .. texts.line(words_of(last), 200) or "the conversation is empty")
end

--- The question that failed, where it can still be asked: one in the place of an earlier question, only in the
--- conversation that has that.
local function failed(session)
  local question = session.unanswered
  return question and (not question.n or question.chat == session:chat()) and question or nil
end

local function retry(session)
  local question = failed(session)
  if question and question.n then return session:ask_again(question.n, question.parts) end
  if question then return session:ask(question.text) end
  local parts = session:chat():question(-1)
  if not parts then console.misuse(NONE) end
  session:ask_again(-1, parts)
end

--- The question with another text, its media behind that.
local function with_text(parts, text)
  local out = { text }
  for _, part in ipairs(parts) do
    if type(part) ~= "string" then out[#out + 1] = part end
  end
  return out
end

local function edit(session, text)
  local n = text == "" and -1 or console.whole(1)(text)
  if not n then console.misuse "/edit takes the number of a question, from 1, or nothing for the last" end
  local question = n == -1 and failed(session) or nil
  local parts
  if question then n, parts = question.n, question.parts else parts = session:chat():question(n) end
  if n and n ~= -1 and not parts then console.misuse("there is no question %d", n) end
  local before = question and question.text or parts and words_of(parts) or ""
  local after = session.reader:lend(require("lmm.cli.chat.editor").edit, before, session.uv)
  if not after:find "%S" then return session.screen:note "the text is empty: nothing is asked" end
  session.reader:remember(after)
  session.screen:note("%s", after)
  if not parts then return session:ask(after) end
  session:ask_again(n, with_text(parts, after))
end

local function check_name(name, command)
  if not name:find "^[%w_.-]+$" then
    console.misuse("/%s takes a name of letters, digits, '_', '.' and '-'", command)
  end
end

local function fork(session, name)
  check_name(name, "fork")
  if session.chats[name] then console.misuse("there is a conversation '%s' already: /switch %s", name, name) end
  session:use(session:chat():fork(), name)
  session.screen:note("'%s' goes its own way from here; /switch takes you back", name)
end

local function list(session)
  local lines = {}
  for i, name in ipairs(require "lmm.options".names(session.chats)) do
    local last = session.chats[name]:question(-1)
    local words = last and ": " .. texts.line(words_of(last), 60) or ""
    lines[i] = (name == session.name and "* " or "  ") .. name .. words
  end
  session.screen:print(table.concat(lines, "\n"))
end

local function switch(session, name)
  if name == "" then return list(session) end
  if not session.chats[name] then console.misuse("there is no conversation '%s': /switch lists them", name) end
  session:use(session.chats[name], name)
end

return {
  { name = "undo", run = undo, help = "Forget the last question and its answer." },
  { name = "retry", run = retry, help = "Ask the last question again, or the one that failed." },
  { name = "edit", args = "[N]", run = edit, help = "Change the last question, or the Nth, in $VISUAL or $EDITOR, and "
    .. "ask that; what followed it is forgotten once the answer is there." },
  { name = "fork", args = "NAME", run = fork, help = "Go on in a copy of the conversation." },
  { name = "switch", args = "[NAME]", complete = "chat", run = switch, help = "Go on in another conversation; alone, "
    .. "list them." },
}
