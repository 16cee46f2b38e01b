--- The shell and the files of a spec.
--
-- In:  commands, paths, texts.
-- Out: what a command prints, what a file holds.

local shell = {}

--- A word as a shell takes it, whatever is in it.
function shell.quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- What a command prints.
function shell.output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

--- The bytes of a file, or nil.
function shell.read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local bytes = file:read "*a"
  file:close()
  return bytes
end

--- Writes a file and gives its path.
---@param mode string?  "wb" unless given
function shell.write(path, bytes, mode)
  local file = assert(io.open(path, mode or "wb"))
  file:write(bytes)
  file:close()
  return path
end

return shell
