//! Requests that the client library has no call for: a part of a file in one round trip, a hard
//! link, a folder brought to disk.
//!
//! Each is a chain of requests on one open file that the server works off in order. Knows no
//! object and no key, only paths below the share.

use smb2::{
    CompoundOp, Frame, Tree,
    msg::{
        close::CloseRequest,
        create::{
            CreateDisposition, CreateRequest, CreateResponse, ImpersonationLevel, ShareAccess,
        },
        flush::FlushRequest,
        query_info::InfoType,
        read::{ReadRequest, ReadResponse, SMB2_CHANNEL_NONE},
        set_info::SetInfoRequest,
    },
    pack::{Pack, ReadCursor, Unpack},
    types::{
        Command, CreditCharge, FileId, OplockLevel,
        flags::{FileAccessMask, FileAttributes},
        status::NtStatus,
    },
};

use crate::link::Link;

const FILE_DIRECTORY_FILE: u32 = 0x0000_0001;
const FILE_NON_DIRECTORY_FILE: u32 = 0x0000_0040;
const FILE_DELETE_ON_CLOSE: u32 = 0x0000_1000;
/// `FileLinkInformation` of `SET_INFO`.
const FILE_LINK_INFORMATION: u8 = 11;
/// Where a server puts the bytes of a `READ` in its answer.
const READ_PADDING: u8 = 0x50;
/// What one credit pays for.
const CREDIT_BYTES: u32 = 65536;

/// A part of a file, and the size of the whole.
pub(crate) struct Part {
    /// As long as was asked for, if the file does not end before.
    pub(crate) bytes: Vec<u8>,
    /// Size of the file when it was opened.
    pub(crate) size_bytes: u64,
}

/// Reads `length` bytes of the file `path` from `offset` on, in one round trip.
pub(crate) async fn read(link: &Link, path: &str, offset: u64, length: u32) -> smb2::Result<Part> {
    let access = FileAccessMask::FILE_READ_DATA | FileAccessMask::FILE_READ_ATTRIBUTES;
    let open = open_request(link.tree(), path, access, FILE_NON_DIRECTORY_FILE);
    let length = length.max(1);
    let read = ReadRequest {
        padding: READ_PADDING,
        flags: 0,
        length,
        offset,
        file_id: FileId::SENTINEL,
        minimum_count: 0,
        channel: SMB2_CHANNEL_NONE,
        remaining_bytes: 0,
        read_channel_info: Vec::new(),
    };
    let credits = u16::try_from(length.div_ceil(CREDIT_BYTES)).unwrap_or(u16::MAX);
    let chain = Chain { open, command: Command::Read, body: &read, credits };
    let (opened, frame) = chain.run(link).await?;
    let size_bytes = opened.end_of_file;
    if frame.header.status == NtStatus::END_OF_FILE {
        return Ok(Part { bytes: Vec::new(), size_bytes });
    }
    check(&frame, Command::Read)?;
    let bytes = ReadResponse::unpack(&mut ReadCursor::new(&frame.body))?.data;
    if bytes.len() > length as usize {
        return Err(smb2::Error::InvalidData {
            message: format!("{} bytes came back where {length} were asked for", bytes.len()),
        });
    }
    Ok(Part { bytes, size_bytes })
}

/// Gives the file `path` a second name, which must be free: the server decides in one step.
/// With `is_moved`, the first name is removed in the same round trip, whatever comes of it.
pub(crate) async fn hard_link(
    link: &Link,
    path: &str,
    second: &str,
    is_moved: bool,
) -> smb2::Result<()> {
    let access = FileAccessMask::DELETE
        | FileAccessMask::FILE_READ_ATTRIBUTES
        | FileAccessMask::FILE_WRITE_ATTRIBUTES;
    let and_remove = if is_moved { FILE_DELETE_ON_CLOSE } else { 0 };
    let open = open_request(link.tree(), path, access, FILE_NON_DIRECTORY_FILE | and_remove);
    let set = SetInfoRequest {
        info_type: InfoType::File,
        file_info_class: FILE_LINK_INFORMATION,
        additional_information: 0,
        file_id: FileId::SENTINEL,
        buffer: link_information(&smb2::encode_path(second)),
    };
    let chain = Chain { open, command: Command::SetInfo, body: &set, credits: 1 };
    let (_, frame) = chain.run(link).await?;
    check(&frame, Command::SetInfo)
}

/// Brings the names in the folder `path` to disk.
pub(crate) async fn flush_folder(link: &Link, path: &str) -> smb2::Result<()> {
    let access = FileAccessMask::FILE_WRITE_DATA
        | FileAccessMask::FILE_APPEND_DATA
        | FileAccessMask::FILE_READ_ATTRIBUTES;
    let open = open_request(link.tree(), path, access, FILE_DIRECTORY_FILE);
    let flush = FlushRequest { file_id: FileId::SENTINEL };
    // Nothing may follow a FLUSH in a chain, as servers answer it later.
    let frames = send(link, &open, &[(Command::Flush, &flush, 1)]).await?;
    let [opened, flushed] = frames.as_slice() else { return Err(torn_chain()) };
    check(opened, Command::Create)?;
    close(link, opened).await;
    check(flushed, Command::Flush)
}

/// Opens a file that nobody else can open meanwhile, and that the server removes when it is
/// closed or we are gone; makes it if there is none.
pub(crate) async fn hold(link: &Link, path: &str) -> smb2::Result<Held> {
    let open = CreateRequest {
        create_disposition: CreateDisposition::FileOpenIf,
        share_access: ShareAccess(0),
        file_attributes: FileAttributes::NORMAL,
        ..open_request(
            link.tree(),
            path,
            FileAccessMask::DELETE | FileAccessMask::FILE_READ_ATTRIBUTES,
            FILE_NON_DIRECTORY_FILE | FILE_DELETE_ON_CLOSE,
        )
    };
    let tree = link.tree().tree_id;
    let frame = link.connection().execute(Command::Create, &open, Some(tree)).await?;
    check(&frame, Command::Create)?;
    Ok(Held(frame))
}

/// A file that is held open.
pub(crate) struct Held(Frame);

impl Held {
    /// Lets go of it.
    pub(crate) async fn release(self, link: &Link) {
        close(link, &self.0).await;
    }
}

/// CREATE, one more request, CLOSE.
struct Chain<'a> {
    open: CreateRequest,
    command: Command,
    body: &'a dyn Pack,
    credits: u16,
}

impl Chain<'_> {
    /// What was opened, and the answer to the request in the middle, whatever it says.
    async fn run(&self, link: &Link) -> smb2::Result<(CreateResponse, Frame)> {
        let done = CloseRequest { flags: 0, file_id: FileId::SENTINEL };
        let rest: [(Command, &dyn Pack, u16); 2] =
            [(self.command, self.body, self.credits), (Command::Close, &done, 1)];
        let frames = send(link, &self.open, &rest).await?;
        let Ok([opened, middle, closed]) = <[Frame; 3]>::try_from(frames) else {
            return Err(torn_chain());
        };
        check(&opened, Command::Create)?;
        if closed.header.status != NtStatus::SUCCESS {
            // Some servers give what follows a failed request the same failure.
            close(link, &opened).await;
        }
        let opened = CreateResponse::unpack(&mut ReadCursor::new(&opened.body))?;
        Ok((opened, middle))
    }
}

async fn send(
    link: &Link,
    open: &CreateRequest,
    rest: &[(Command, &dyn Pack, u16)],
) -> smb2::Result<Vec<Frame>> {
    let tree_id = Some(link.tree().tree_id);
    let first: (Command, &dyn Pack, u16) = (Command::Create, open, 1);
    let chain: Vec<CompoundOp<'_>> = std::iter::once(&first)
        .chain(rest)
        .map(|&(command, body, credits)| CompoundOp {
            credit_charge: CreditCharge(credits),
            ..CompoundOp::new(command, body, tree_id)
        })
        .collect();
    link.connection().execute_compound(&chain).await?.into_iter().collect()
}

/// Closes what the answer `opened` opened. Failing is harmless: it is closed with the session.
async fn close(link: &Link, opened: &Frame) {
    if let Ok(opened) = CreateResponse::unpack(&mut ReadCursor::new(&opened.body)) {
        let _ = link.tree().close_handle(&mut link.connection(), opened.file_id).await;
    }
}

fn check(frame: &Frame, command: Command) -> smb2::Result<()> {
    match frame.header.status {
        NtStatus::SUCCESS => Ok(()),
        status => Err(smb2::Error::Protocol { status, command }),
    }
}

fn torn_chain() -> smb2::Error {
    smb2::Error::InvalidData { message: "answers to a chain of requests are missing".to_owned() }
}

fn open_request(tree: &Tree, path: &str, access: u32, options: u32) -> CreateRequest {
    CreateRequest {
        requested_oplock_level: OplockLevel::None,
        impersonation_level: ImpersonationLevel::Impersonation,
        desired_access: FileAccessMask::new(access | FileAccessMask::SYNCHRONIZE),
        file_attributes: 0,
        share_access: ShareAccess(
            ShareAccess::FILE_SHARE_READ
                | ShareAccess::FILE_SHARE_WRITE
                | ShareAccess::FILE_SHARE_DELETE,
        ),
        create_disposition: CreateDisposition::FileOpen,
        create_options: options,
        name: name_on(tree, path),
        create_contexts: Vec::new(),
    }
}

/// The path as the server takes it: in a share that is part of a DFS, it begins with the server.
fn name_on(tree: &Tree, path: &str) -> String {
    let path = smb2::encode_path(path);
    match (tree.is_dfs, path.is_empty()) {
        (false, _) => path,
        (true, true) => format!("{}\\{}", tree.server, tree.share_name),
        (true, false) => format!("{}\\{}\\{path}", tree.server, tree.share_name),
    }
}

/// MS-FSCC 2.4.27: do not replace, seven reserved bytes, no root, the name with its length.
fn link_information(name: &str) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    let mut buffer = vec![0; 16];
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&name);
    buffer
}
