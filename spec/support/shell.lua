--- The shell and the files of a spec.
--
-- In:  commands, paths, texts.
-- Out: what a command prints, what a file holds, folders.

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

--- Runs a command, made as by string.format; raises where it fails.
function shell.run(...)
  local command = string.format(...)
  local ok = os.execute(command)
  if ok ~= true and ok ~= 0 then error("failed: " .. command, 2) end
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
  assert(file:write(bytes))
  file:close()
  return path
end

--- Makes a folder.
---@return string folder, fun(name: string, text: string?): string file  gives the path of a file in it, which is
--- written where there is a text
function shell.folder()
  local folder = shell.output "mktemp -d":match "[^\n]+"
  return folder, function(name, text)
    local path = folder .. "/" .. name
    return text and shell.write(path, text) or path
  end
end

return shell
