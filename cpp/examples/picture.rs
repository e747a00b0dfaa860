// A picture by fgdm's C API from Rust: picture BUNDLE PROMPT OUTPUT.ppm [libonnxruntime.so]
//   rustc --edition 2021 cpp/examples/picture.rs -L PREFIX/lib -l fgdm -C link-arg=-Wl,-rpath,PREFIX/lib
use std::ffi::{c_char, c_double, c_int, c_void, CStr, CString};
use std::io::Write;
use std::{env, fs, process, ptr, slice};

// Of fgdm/fgdm.h, what this program calls.
#[repr(C)]
struct Engine([u8; 0]);
#[repr(C)]
struct Job([u8; 0]);

#[repr(C)]
struct Step {
    factor: *const c_char,
    step: c_int,
    num_steps: c_int,
    timestep: c_double,
    candidates: *const c_int,
    num_candidates: usize,
    predicted_x0: *const f32,
    channels: c_int,
    height: c_int,
    width: c_int,
}

#[repr(C)]
struct Callbacks {
    context: *mut c_void,
    on_step: Option<extern "C" fn(*mut c_void, *const Step) -> c_int>,
    on_done: Option<extern "C" fn(*mut c_void)>,
    on_map: Option<extern "C" fn(*mut c_void, *const c_void, c_int) -> c_int>,
    on_select: Option<extern "C" fn(*mut c_void, *const c_void, usize) -> c_int>,
}

#[repr(C)]
struct Pixels {
    height: c_int,
    width: c_int,
    channels: c_int,
    data: *const u8,
}

const OK: c_int = 0;
const CHOSEN: c_int = -1;
const IMAGE: c_int = 0;

extern "C" {
    fn fgdm_last_error() -> *const c_char;
    fn fgdm_engine_open(bundle: *const c_char, options: *const c_char, engine: *mut *mut Engine) -> c_int;
    fn fgdm_engine_close(engine: *mut Engine);
    fn fgdm_submit(
        engine: *mut Engine, request: *const c_char, arrays: *const c_void, num_arrays: usize,
        callbacks: *const Callbacks, job: *mut *mut Job,
    ) -> c_int;
    fn fgdm_job_wait(job: *mut Job, seconds: c_double) -> c_int;
    fn fgdm_job_pixels(
        job: *mut Job, factor: *const c_char, candidate: c_int, kind: c_int, pixels: *mut Pixels,
    ) -> c_int;
    fn fgdm_job_free(job: *mut Job);
}

// What the last call came to, as Rust says it.
fn checked(status: c_int) -> Result<(), String> {
    if status == OK {
        return Ok(());
    }
    Err(unsafe { CStr::from_ptr(fgdm_last_error()) }.to_string_lossy().into_owned())
}

fn c_text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a text has a zero byte".to_string())
}

// The text as JSON's.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' | '\0'..='\x1f' => format!("\\u{:04x}", c as u32),
            _ => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

// Both are given back however their user ends.
struct OpenEngine(*mut Engine);
impl Drop for OpenEngine {
    fn drop(&mut self) {
        unsafe { fgdm_engine_close(self.0) }
    }
}
struct OpenJob(*mut Job);
impl Drop for OpenJob {
    fn drop(&mut self) {
        unsafe { fgdm_job_free(self.0) }
    }
}

extern "C" fn on_step(_: *mut c_void, step: *const Step) -> c_int {
    let step = unsafe { &*step };
    let factor = unsafe { CStr::from_ptr(step.factor) }.to_string_lossy();
    println!("{factor} {}/{}", step.step + 1, step.num_steps);
    0
}

fn paint(bundle: &str, prompt: &str, output: &str, library: &str) -> Result<(), String> {
    let options = c_text(&format!("{{\"backend\": \"cpu\", \"library\": {}}}", quoted(library)))?;
    let mut engine = OpenEngine(ptr::null_mut());
    checked(unsafe { fgdm_engine_open(c_text(bundle)?.as_ptr(), options.as_ptr(), &mut engine.0) })?;

    let request = c_text(&format!(
        "{{\"prompt\": {}, \"candidates\": 2, \"condition_steps\": 4, \"num_inference_steps\": 4, \
         \"seed\": 1}}",
        quoted(prompt)
    ))?;
    let callbacks = Callbacks {
        context: ptr::null_mut(),
        on_step: Some(on_step),
        on_done: None,
        on_map: None,
        on_select: None,
    };
    let mut job = OpenJob(ptr::null_mut());
    checked(unsafe {
        fgdm_submit(engine.0, request.as_ptr(), ptr::null(), 0, &callbacks, &mut job.0)
    })?;
    checked(unsafe { fgdm_job_wait(job.0, -1.0) })?;

    let mut image = Pixels { height: 0, width: 0, channels: 0, data: ptr::null() };
    checked(unsafe { fgdm_job_pixels(job.0, ptr::null(), CHOSEN, IMAGE, &mut image) })?;
    let size = (image.height * image.width * image.channels) as usize;
    let pixels = unsafe { slice::from_raw_parts(image.data, size) };
    let mut file = fs::File::create(output).map_err(|error| format!("{output}: {error}"))?;
    write!(file, "P6\n{} {}\n255\n", image.width, image.height)
        .and_then(|()| file.write_all(pixels))
        .map_err(|error| format!("{output}: {error}"))
}

fn main() {
    let words: Vec<String> = env::args().collect();
    if words.len() < 4 {
        eprintln!("usage: {} BUNDLE PROMPT OUTPUT.ppm [libonnxruntime.so]", words[0]);
        process::exit(2);
    }
    let library = words.get(4).map_or("", String::as_str);
    if let Err(message) = paint(&words[1], &words[2], &words[3], library) {
        eprintln!("{message}");
        process::exit(1);
    }
}
