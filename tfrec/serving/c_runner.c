/* Runs a SavedModel through TensorFlow's C API, with no Python in the process.
 *
 *     c_runner FOLDER [LIBRARY...]        libraries of operations, such as those of tensorflow-text
 *
 * It loads the graph with the tag "serve" and says so: 0, or a code and a message. Then it answers requests from its
 * standard input until that ends. All numbers are those of this machine, all lengths are u32 but those of data.
 *
 *     request   u32 feeds, (name, tensor) each, u32 fetches, a name each; a name is "operation:output"
 *     answer    u32 0, then a tensor for each fetch; or u32 code, message
 *     tensor    u32 type, u32 dimensions, i64 each, then for texts (u64 length, bytes) each, else u64 length, bytes
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

enum { MAX_DIMENSIONS = 32, NOT_UNDERSTOOD = 3 };

static void *reserve(size_t bytes) {
    void *place = calloc(bytes ? bytes : 1, 1);
    if (!place) {
        fprintf(stderr, "c_runner: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return place;
}

/* Reads exactly so many bytes; the end of the input in the midst of a request is the end of the program. */
static void take(void *place, size_t bytes) {
    if (bytes && fread(place, 1, bytes, stdin) != bytes) {
        fprintf(stderr, "c_runner: the request ends early\n");
        exit(1);
    }
}

static uint32_t take_u32(void) {
    uint32_t value;
    take(&value, sizeof value);
    return value;
}

static uint64_t take_u64(void) {
    uint64_t value;
    take(&value, sizeof value);
    return value;
}

static char *take_name(void) {
    uint32_t length = take_u32();
    char *name = reserve((size_t)length + 1);
    take(name, length);
    return name;
}

static void give(const void *place, size_t bytes) { fwrite(place, 1, bytes, stdout); }

static void give_u32(uint32_t value) { give(&value, sizeof value); }

static void give_u64(uint64_t value) { give(&value, sizeof value); }

static void give_failure(uint32_t code, const char *message) {
    give_u32(code);
    give_u32((uint32_t)strlen(message));
    give(message, strlen(message));
    fflush(stdout);
}

static int64_t cells_of(const TF_Tensor *tensor) {
    int64_t cells = 1;
    for (int place = 0; place < TF_NumDims(tensor); place++) cells *= TF_Dim(tensor, place);
    return cells;
}

static TF_Tensor *take_tensor(void) {
    TF_DataType type = (TF_DataType)take_u32();
    uint32_t dimensions = take_u32();
    int64_t sizes[MAX_DIMENSIONS], cells = 1;
    if (dimensions > MAX_DIMENSIONS) exit(1);
    take(sizes, dimensions * sizeof *sizes);
    for (uint32_t place = 0; place < dimensions; place++) cells *= sizes[place];
    if (type != TF_STRING) {
        uint64_t bytes = take_u64();
        TF_Tensor *tensor = TF_AllocateTensor(type, sizes, (int)dimensions, bytes);
        take(TF_TensorData(tensor), bytes);
        return tensor;
    }
    TF_Tensor *tensor = TF_AllocateTensor(type, sizes, (int)dimensions, (size_t)cells * sizeof(TF_TString));
    TF_TString *texts = TF_TensorData(tensor);
    for (int64_t cell = 0; cell < cells; cell++) {
        uint64_t length = take_u64();
        char *text = reserve(length);
        take(text, length);
        TF_TString_Init(&texts[cell]);
        TF_TString_Copy(&texts[cell], text, length);
        free(text);
    }
    return tensor;
}

static void give_tensor(TF_Tensor *tensor) {
    give_u32((uint32_t)TF_TensorType(tensor));
    give_u32((uint32_t)TF_NumDims(tensor));
    for (int place = 0; place < TF_NumDims(tensor); place++) give_u64((uint64_t)TF_Dim(tensor, place));
    if (TF_TensorType(tensor) != TF_STRING) {
        give_u64(TF_TensorByteSize(tensor));
        give(TF_TensorData(tensor), TF_TensorByteSize(tensor));
        return;
    }
    TF_TString *texts = TF_TensorData(tensor);
    for (int64_t cell = 0; cell < cells_of(tensor); cell++) {
        give_u64(TF_TString_GetSize(&texts[cell]));
        give(TF_TString_GetDataPointer(&texts[cell]), TF_TString_GetSize(&texts[cell]));
    }
}

/* The texts of a tensor that was fed lie outside it where they are long. */
static void drop_tensor(TF_Tensor *tensor) {
    if (TF_TensorType(tensor) == TF_STRING)
        for (int64_t cell = 0; cell < cells_of(tensor); cell++)
            TF_TString_Dealloc((TF_TString *)TF_TensorData(tensor) + cell);
    TF_DeleteTensor(tensor);
}

/* The output that "operation:output" names; its operation is NULL where the graph has none of that name. */
static TF_Output output_of(TF_Graph *graph, char *name) {
    char *colon = strrchr(name, ':');
    int place = colon ? atoi(colon + 1) : 0;
    if (colon) *colon = 0;
    TF_Output output = {TF_GraphOperationByName(graph, name), place};
    return output;
}

/* Answers one request; 0 where there is none any more. */
static int answer(TF_Graph *graph, TF_Session *session, TF_Status *status) {
    uint32_t feeds, fetches;
    if (fread(&feeds, sizeof feeds, 1, stdin) != 1) return 0;
    TF_Output *fed = reserve(feeds * sizeof *fed);
    TF_Tensor **inputs = reserve(feeds * sizeof *inputs);
    int understood = 1;
    for (uint32_t place = 0; place < feeds; place++) {
        char *name = take_name();
        fed[place] = output_of(graph, name);
        understood &= fed[place].oper != NULL;
        inputs[place] = take_tensor();
        free(name);
    }
    fetches = take_u32();
    TF_Output *fetched = reserve(fetches * sizeof *fetched);
    TF_Tensor **outputs = reserve(fetches * sizeof *outputs);
    for (uint32_t place = 0; place < fetches; place++) {
        char *name = take_name();
        fetched[place] = output_of(graph, name);
        understood &= fetched[place].oper != NULL;
        free(name);
    }
    if (understood)
        TF_SessionRun(session, NULL, fed, inputs, (int)feeds, fetched, outputs, (int)fetches, NULL, 0, NULL, status);
    if (!understood) {
        give_failure(NOT_UNDERSTOOD, "the graph has no operation of that name");
    } else if (TF_GetCode(status) != TF_OK) {
        give_failure((uint32_t)TF_GetCode(status), TF_Message(status));
    } else {
        give_u32(0);
        for (uint32_t place = 0; place < fetches; place++) {
            give_tensor(outputs[place]);
            TF_DeleteTensor(outputs[place]);
        }
        fflush(stdout);
    }
    for (uint32_t place = 0; place < feeds; place++) drop_tensor(inputs[place]);
    free(fed), free(inputs), free(fetched), free(outputs);
    return 1;
}

int main(int count, char **words) {
    if (count < 2) {
        fprintf(stderr, "usage: %s FOLDER [LIBRARY...]\n", words[0]);
        return 2;
    }
    TF_Status *status = TF_NewStatus();
    for (int place = 2; place < count && TF_GetCode(status) == TF_OK; place++) TF_LoadLibrary(words[place], status);
    TF_Graph *graph = TF_NewGraph();
    TF_SessionOptions *options = TF_NewSessionOptions();
    const char *tags[] = {"serve"};
    TF_Session *session = NULL;
    if (TF_GetCode(status) == TF_OK)
        session = TF_LoadSessionFromSavedModel(options, NULL, words[1], tags, 1, graph, NULL, status);
    if (TF_GetCode(status) != TF_OK) {
        give_failure((uint32_t)TF_GetCode(status), TF_Message(status));
        return 1;
    }
    give_u32(0);
    fflush(stdout);
    while (answer(graph, session, status)) continue;
    return 0;
}
