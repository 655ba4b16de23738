// CCP Reset-Request and Reset-Ack (RFC 1962 section 4), as stateful MPPE uses them (RFC 3078 section 5.2 and 7.2).

#include "link_internal.h"

// A repeated identifier means that our Reset-Ack was lost, or that it crossed the request: it is acknowledged again.
static void take_request(cw_link *link, uint8_t identifier) {
    cw_link_answers *answers = &link->answers;
    if (answers->count > 0 && answers->identifiers[answers->count - 1] == identifier) return;
    if (answers->count == CW_RESET_ANSWERS) { // the oldest one has been asked again, or will be
        for (unsigned n = 1; n < CW_RESET_ANSWERS; n++) answers->identifiers[n - 1] = answers->identifiers[n];
        answers->count--;
    }
    answers->identifiers[answers->count++] = identifier;
}

bool cw_link_take_reset(cw_link *link, const uint8_t *frame, size_t length) {
    if (length < CW_CCP_HEADER) return false;
    switch (frame[0]) {
    case CW_CCP_RESET_REQUEST:
        link->counters->resets_received++;
        if (cw_link_sends_encrypted(link)) take_request(link, frame[1]);
        return true;
    case CW_CCP_RESET_ACK:
        if (link->requests.state == CW_REQUEST_SENT && frame[1] == link->requests.identifier) {
            link->requests.state = CW_REQUEST_ANSWERED;
            link->requests.due = false;
            link->requests.not_before = link->requests.sent_at + CW_RESET_SPACING;
        }
        return true;
    default:
        return false;
    }
}

// A packet arrived that cannot be decrypted.
void cw_link_request_reset(cw_link *link) {
    if (link->receiver.stateless) return; // the next packet helps itself
    link->requests.due = true;
}

// A packet has proved itself.
void cw_link_recovered(cw_link *link) {
    link->doubt = (cw_link_doubt){0};
    if (link->requests.state != CW_REQUEST_IDLE) link->requests.not_before = link->requests.sent_at + CW_RESET_SPACING;
    link->requests.state = CW_REQUEST_IDLE;
    link->requests.due = false;
}
