--- Where something stands in a file: the text of a table in Lua or JSON comes in; the line of each key in it goes out,
--- also where a program makes the rest of the table.

--- The next token at or behind `at`, as its kind, its text, where it ends, and the code that it was.
---@return "name"|"string"|"other"|nil kind, string token, integer stop
local function next_token(text, at)
  local start = text:match("^%s*()", at)
  local comment = text:match("^%-%-()", start)
  local level, inside = text:match("^%[(=*)%[()", comment or start)
  if level then
    local first, last = text:find("]" .. level .. "]", inside, true)
    return comment and "space" or "string", text:sub(inside, (first or 0) - 1), last or #text
  elseif comment then
    return "space", "", (text:find("\n", comment, true) or #text + 1) - 1
  end
  local name, stop = text:match("^([%a_][%w_]*)()", start)
  if name then return "name", name, stop - 1 end
  local quote = text:match("^[\"']", start)
  if not quote then return start <= #text and "other" or nil, text:sub(start, start), start end
  local from = start + 1
  while true do
    local found = text:find("[\\\n" .. quote .. "]", from) or #text + 1
    if text:sub(found, found) ~= "\\" then return "string", text:sub(start + 1, found - 1), found end
    from = found + 2
  end
end

local SEPARATOR = "\0"

--- The line of each path of keys, the path being its keys with separators between them.
local function index(text)
  local lines, stack, at, line, scanned = {}, {}, 1, 1, 1
  local token, key, key_line -- the string or name before, and what the next value belongs to
  while true do
    local kind, word, stop = next_token(text, at)
    if not kind then return lines end
    local start = text:match("^%s*()", at)
    line, scanned = line + select(2, text:sub(scanned, start - 1):gsub("\n", "")), start
    local is_key = kind == "other" and (word == "=" and text:sub(stop + 1, stop + 1) ~= "=" or word == ":")
    local top = stack[#stack]
    if is_key and token and top then
      key, key_line = top .. SEPARATOR .. token, line
      lines[key] = lines[key] or key_line
    elseif word == "{" and kind == "other" then
      stack[#stack + 1] = key or top and top .. SEPARATOR or ""
      key = nil
    elseif word == "}" and kind == "other" then
      stack[#stack], key = nil, nil
    elseif word == "," or word == ";" then
      key = nil
    end
    if kind == "name" or kind == "string" then token = word elseif kind == "other" and word ~= "]" then token = nil end
    at = stop + 1
  end
end

--- Makes what finds lines.
---@param text string
---@return fun(keys: string[]): integer? line_of  the line of the last of these keys that is found
return function(text)
  local lines = index(text)
  return function(keys)
    local path, line = "", nil
    for _, key in ipairs(keys) do
      path = path .. SEPARATOR .. tostring(key)
      line = lines[path] or line
    end
    return line
  end
end
