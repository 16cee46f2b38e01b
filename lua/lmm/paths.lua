--- A path that leads to no file comes in; what may have been meant goes out, as one line of advice, or the error.
local errors = require "lmm.errors"

local paths = {}

--- Whether there is something at a path that can be read.
---@param path string
---@return boolean
function paths.exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

local NARROW = "\226\128\175" -- U+202F, which macOS writes before AM and PM in the names of screenshots

local rows = {
  { "^~", "the shell alone expands ~: write the home directory in full" },
  { "^[\"'].*[\"']$", "the quotes are a part of the path: leave them out" },
  { "\\ ", "the backslash before a space is a part of the path: leave it out" },
  { "^www%.", "a URL begins with https://" },
  { "^https?:/?[^/]", "a URL begins with https:// or http://" },
  { "^%s", "the path begins with white space" },
  { "%s$", "the path ends in white space" },
  { "%%%x%x", "what is percent-encoded in a URL is not so in a path" },
}

--- Advice for a path at which there is nothing.
---@param path string
---@return string?
local function advice(path)
  local plain = path:gsub(NARROW, " "):gsub("\194\160", " ")
  if plain ~= path then
    return "the path holds a no-break space"
      .. (paths.exists(plain) and ": with a plain one there is such a file" or "")
  end
  local narrow = path:gsub(" ([AP]M)", NARROW .. "%1")
  if narrow ~= path and paths.exists(narrow) then
    return "there is such a file with a narrow no-break space, U+202F, before AM or PM"
  end
  for _, row in ipairs(rows) do
    if path:find(row[1]) then return row[2] end
  end
end

--- The error for a source that cannot be read, with advice where there is nothing at its path.
---@param source string|{ bytes: string }
---@param message string
---@return lmm.Error
function paths.failure(source, message)
  local is_missing = type(source) == "string" and message:find "No such file"
  return errors.new { kind = "invalid", message = message, hint = is_missing and advice(source) or nil }
end

return paths
