-- Random ranges of COMPARE_PIECE bytes of an object of COMPARE_LENGTH bytes. The requests are made before the run: wrk must not be the slow one.

dofile(os.getenv("COMPARE_SCRIPTS") .. "/hits.lua")

local threads = 0
local prepared = {}

function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
end

function init()
    local length, piece = tonumber(os.getenv("COMPARE_LENGTH")), tonumber(os.getenv("COMPARE_PIECE"))
    math.randomseed(number * 7919 + os.time())
    for index = 1, 8192 do
        local offset = math.random(0, length - piece)
        prepared[index] = wrk.format(nil, nil, { ["Range"] = string.format("bytes=%d-%d", offset, offset + piece - 1), ["Host"] = wrk.headers["Host"] })
    end
end

local turn = 0
function request()
    turn = turn % #prepared + 1
    return prepared[turn]
end
