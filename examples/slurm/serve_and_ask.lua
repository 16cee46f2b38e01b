-- Starts a model server, asks it about two pictures, and stops it. In a Slurm job: see serve_and_ask.sbatch.
--
--   lua5.4 examples/slurm/serve_and_ask.lua MODEL [COMMAND...]
--
-- MODEL is a name, or a folder such as ~/.cache/huggingface/hub/models--ORG--NAME/snapshots/HASH. COMMAND is what comes
-- before it: `vllm serve` unless given, `apptainer exec --nv vllm.sif vllm serve`, `lmm mock` ...
local lmm = require "lmm"

local picture = (arg[0]:match "^.*/" or "./") .. "../picture.jpg"
local url = "https://vllm-public-assets.s3.us-west-2.amazonaws.com/vision_model_images/cherry_blossom.jpg"

local model = assert(arg[1], "usage: serve_and_ask.lua MODEL [COMMAND...]")
local owner, name = model:match "models%-%-(.-)%-%-([^/]+)"

local command = {}
for i = 2, #arg do command[#command + 1] = arg[i] end
if #command == 0 then command = { "vllm", "serve" } end
for _, word in ipairs {
  model, "--served-model-name", owner and owner .. "/" .. name or model,
  "--tensor-parallel-size", os.getenv "SLURM_GPUS_ON_NODE" or "1",
  "--limit-mm-per-prompt.image", "2", "--limit-mm-per-prompt.video", "1", "--allowed-local-media-path", "/tmp",
  "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--no-use-tqdm-on-load",
  "--host", "127.0.0.1", -- else it listens to everybody
} do command[#command + 1] = word end

local server = assert(lmm.serve {
  command = command, ready_timeout = 1800, on_log = function(line) io.stderr:write(line, "\n") end,
})
for _, served in ipairs(assert(server.client:models())) do print("model: " .. served.id) end

local chat = server.client:conversation { max_tokens = 200, temperature = 0 }
print(assert(chat:ask("What is shown in the image?", lmm.image(picture))))  -- sent as base64
local reply, message = chat:ask("And what is shown in this one?", lmm.image(url))  -- fetched by the server, if it can
print(reply or message)
server:stop()
