--- What a line may become: its beginning, up to the cursor, comes in; what may stand in the place of its last part goes
--- out.
local commands = require "lmm.cli.chat.commands"
local configured = require "lmm.cli.configured"

local completion = {}

--- Those that begin with a text, in order.
local function beginning(list, text)
  local out = {}
  for _, word in ipairs(list) do
    if word:sub(1, #text) == text then out[#out + 1] = word end
  end
  table.sort(out)
  return out
end

local function keys(set)
  local out = {}
  for name in pairs(set) do out[#out + 1] = name end
  return out
end

--- What kinds of arguments there are: what is typed of one comes in; what it may become goes out, and whether more will
--- follow.
local kinds = {}

--- A path; hidden files only where a dot was typed.
function kinds.path(session, text)
  local folder, name = text:match "^(.*/)([^/]*)$"
  folder, name = folder or "", name or text
  local home = os.getenv "HOME"
  local real = home and folder:gsub("^~/", function() return home .. "/" end) or folder
  local out = {}
  local scan = session.uv.fs_scandir(real == "" and "." or real)
  while scan do
    local entry, kind = session.uv.fs_scandir_next(scan)
    if not entry then break end
    if entry:sub(1, #name) == name and (name ~= "" or entry:sub(1, 1) ~= ".") then
      if kind == "link" or kind == "unknown" then kind = (session.uv.fs_stat(real .. entry) or {}).type end
      out[#out + 1] = folder .. entry .. (kind == "directory" and "/" or "")
    end
  end
  table.sort(out)
  return out, out[1] ~= nil and out[2] == nil and out[1]:sub(-1) == "/"
end

--- @FILE.
function kinds.at_path(session, text)
  if text:sub(1, 1) ~= "@" then return {} end
  local out, is_open = kinds.path(session, text:sub(2))
  for i, path in ipairs(out) do out[i] = "@" .. path end
  return out, is_open
end

function kinds.chat(session, text)
  return beginning(keys(session.chats), text)
end

function kinds.command(_, text)
  local names = {}
  for i, command in ipairs(commands.list()) do names[i] = command.name end
  return beginning(names, text)
end

--- The server is asked once, and not for long.
function kinds.model(session, text)
  if session.listed_for ~= session.client then
    local ok, list = pcall(session.wait, session, function()
      return session.client:models { timeout = 2, retry = false }
    end)
    session.listed, session.listed_for = {}, session.client
    for _, row in ipairs(ok and list or {}) do table.insert(session.listed, tostring(row.id)) end
  end
  local names = keys(configured.names "models")
  for _, name in ipairs(session.listed) do names[#names + 1] = name end
  return beginning(names, text)
end

function kinds.server(_, text)
  return beginning(keys(configured.names "servers"), text)
end

local FIELDS = { "temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "stop", "n", "presence_penalty",
  "frequency_penalty", "repetition_penalty", "logprobs", "reasoning_effort", "chat_template_kwargs", "timeout", "retry",
  "choice", "regex", "max_rounds", "tool_timeout" }

function kinds.field(_, text)
  return text:find "%s" and {} or beginning(FIELDS, text)
end

--- For a session: what the end of a line may become, from which byte on, and whether more will follow.
---@param session lmm.chat.Session
---@return fun(line: string): string[], integer, boolean?
function completion.new(session)
  return function(line)
    local name, at = line:match "^/(%a[%w-]*)%s+()"
    local command = name and commands.find(name)
    if command then
      local complete = kinds[command.complete]
      local found, is_open = {}, nil
      if complete then found, is_open = complete(session, line:sub(at)) end
      return found, at, is_open
    end
    local typed = line:match "^/(%a?[%w-]*)$"
    local found = typed and kinds.command(session, typed) or {}
    for i, word in ipairs(found) do found[i] = "/" .. word end
    if #found > 0 then return found, 1 end
    local start, word = line:match "()(%S*)$"
    if not word:find "^[.~]*/" then return {}, start end
    local paths, is_open = kinds.path(session, word)
    return paths, start, is_open
  end
end

return completion
