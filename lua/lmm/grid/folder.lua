--- What a page keeps beside it: the path of the page comes in; the paths of its answers, pictures and notes go out, all
--- in the folder NAME.grid.
local errors = require "lmm.errors"
local json = require "lmm.json"

local folder = {}

---@class lmm.GridFolder
---@field path string
---@field page string
local Folder = {}
Folder.__index = Folder

--- The files of answers from one server, see lmm.bulk: one file each, so that each has a run of its own.
---@param client lmm.Client
---@return string path
function Folder:answers(client)
  local name = client.base_url:gsub("^%a+://", ""):gsub("/v%d+/*$", ""):gsub("[^%w.-]+", "-")
  return ("%s/%s.jsonl"):format(self.path, name)
end

function Folder:pictures() return self.path .. "/pictures.jsonl" end

function Folder:notes() return self.path .. "/notes.json" end

--- What people have noted on a page that is served, by the key of the cell. A file that is something else is an error:
--- the next note would overwrite it.
---@return table? notes, lmm.Error? err
function Folder:read_notes()
  local file = io.open(self:notes(), "rb")
  if not file then return {} end
  local notes = json.clean((json.decode(file:read "*a" or "")))
  file:close()
  if type(notes) == "table" and notes[1] == nil then return notes end
  return nil, errors.new { kind = "invalid",
    message = ("'%s' holds no notes of a page: mend it, or move it away"):format(self:notes()) }
end

--- The folder of a page.
---@param page string
---@return lmm.GridFolder
function folder.of(page)
  return setmetatable({ page = page, path = (page:gsub("%.html?$", "")) .. ".grid" }, Folder)
end

--- Makes it where it is not there.
---@return true? made, lmm.Error? err
function Folder:make()
  local made, message, name = require("luv").fs_mkdir(self.path, 511) -- as the umask lets it
  if made or name == "EEXIST" then return true end
  return nil, errors.new { kind = "invalid",
    message = ("cannot make the folder '%s' for the answers: %s"):format(self.path, (message:gsub("^%u+: ", ""))) }
end

return folder
